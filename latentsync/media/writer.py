"""Write a video: frames are encoded to H.264 once, audio comes from a file; the result appears whole or not at all."""

import logging
import os
import stat
import subprocess
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError, LatentSyncError, ToolError
from latentsync.media.ffmpeg_tools import (
    RUN_TIMEOUT_S,
    StallGuard,
    StderrTail,
    Stream,
    ffmpeg_command,
    file_url,
    media_input,
    raw_video_input,
    tool_command,
)
from latentsync.media.probe import AudioInfo, probe_audio, probe_video
from latentsync.media.transcode import BT709_TAGS, rgb_to_bt709
from latentsync.storage.temporary_files import temporary_path

logger = logging.getLogger(__name__)

MADE_BY = "made by LatentSync beside a result"
"""Comment in files that this program names itself, by which it recognizes files that it may replace."""

MADE_RESULT = "made by LatentSync"
"""Comment in results, by which one is recognized where the user has not named it."""

_COMMON_CODECS = {"aac", "mp3", "ac3", "eac3", "alac"}
COPIED_CODECS = {
    ".mp4": _COMMON_CODECS | {"opus"},
    ".mov": _COMMON_CODECS | {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be"},
    ".mkv": _COMMON_CODECS
    | {"opus", "vorbis", "flac", "dts", "mp2", "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"},
}
"""Audio codecs that are copied into each container; others are encoded to AAC at the source's rate and channels."""

_LOWEST_MP3_RATE = 16000
"""Samples per second below which MP3 is the unofficial MPEG 2.5, which mp4 and mov do not support."""
_AAC_BITS_PER_CHANNEL = 160_000
_MAX_AAC_CHANNELS = 8
_MAX_CRF = 51
_ENCODER_THREADS = "4"
"""A constant, because x264's output depends on it."""

_VIDEO_OPTIONS = {
    "vcodec": "libx264", "preset": "medium", "pix_fmt": "yuv420p", "threads": _ENCODER_THREADS, **BT709_TAGS,
}  # fmt: skip


class VideoWriter:
    """Encode RGB frames to H.264 (8-bit 4:2:0, BT.709, fast start), with the audio of a file.

    A context manager. A side of odd length grows by one pixel that repeats the edge, since 4:2:0 requires even sides.
    On any failure, Ctrl-C included, no file or folder is left behind, and an existing file is kept.

    Args:
        path: the output, .mp4, .mov or .mkv.
        width, height: size of the frames in pixels.
        fps: frames per second.
        crf: x264's quality, 0 (lossless) to 51.
        audio_path: an audio file, or a video with audio.
        audio_duration_s: length of the audio to keep in seconds (to a packet, about 20 ms, if it is copied).
        pad_audio: follow audio that ends before `audio_duration_s` by silence, which encodes it: to AAC, or to
            FLAC in .mkv, which does not delay it as AAC does there.
        staged_path: path of the finished file if the caller renames it to `path` later; messages name `path`.
        comment: metadata comment of the file.

    Attributes:
        num_written: number of frames written so far.

    Raises:
        InputError: an argument or the audio cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: Fraction | float,
        crf: int = 18,
        audio_path: str | Path | None = None,
        audio_duration_s: float | None = None,
        *,
        pad_audio: bool = False,
        staged_path: Path | None = None,
        comment: str | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in COPIED_CODECS:
            raise InputError(f"{path} cannot be written: name an output that ends in .mp4, .mov or .mkv")
        if not 0 <= crf <= _MAX_CRF:
            raise InputError(f"crf {crf} is out of range: use 0 (lossless) to {_MAX_CRF}, 18 is visually clean")
        self.width, self.height = width, height
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.num_written = 0
        self._crf = crf
        self._audio = None if audio_path is None else probe_audio(audio_path)
        self._audio_duration_s = audio_duration_s
        self._pad_audio = pad_audio
        self._target = self.path if staged_path is None else staged_path
        self._comment = comment
        self._temporary: Path | None = None
        self._made_folders: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: StderrTail | None = None
        self._guard: StallGuard | None = None

    def __enter__(self) -> "VideoWriter":
        try:
            self._temporary = self._reserve()
            self._process = subprocess.Popen(  # no shell; own session: Ctrl-C reaches only this process
                self._command(self._temporary),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            assert self._process.stderr is not None
            self._stderr = StderrTail(self._process.stderr)
            self._guard = StallGuard(self._process)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame (height, width, 3) uint8 RGB."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"expected uint8 {(self.height, self.width, 3)}, got {frame.dtype} {frame.shape}")
        if self._process is None or self._process.stdin is None or self._guard is None:
            raise ValueError("VideoWriter is used as a context manager: with VideoWriter(...) as video")
        if self.width % 2 or self.height % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        try:
            with self._guard.waiting():
                self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as error:
            self._process.wait()
            raise self._failure() from error
        self.num_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        """Wait for the encoder, check its output and rename it to its final name."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._temporary is not None
        assert self._stderr is not None
        assert self._guard is not None
        if self.num_written == 0:
            raise InputError(f"{self.path} was not written: there were no frames")
        try:
            self._process.stdin.close()
        except BrokenPipeError as error:
            self._process.wait()
            raise self._failure() from error
        with self._guard.waiting(RUN_TIMEOUT_S):  # for fast start the whole file is written again
            status = self._process.wait()
        self._stderr.finish()
        if status != 0 or self._stderr.is_cut_short:
            raise self._failure()
        self._check_written(self._temporary)
        try:
            os.replace(self._temporary, self._target)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}): name another output file") from error
        self._made_folders = []

    def _check_written(self, temporary: Path) -> None:
        try:
            duration_s = probe_video(temporary).duration_s
        except InputError as error:
            raise self._failure() from error
        if duration_s < (self.num_written - 1.5) / self.fps:
            raise self._failure()

    def _failure(self) -> LatentSyncError:
        assert self._stderr is not None
        words = self._stderr.finish()
        if self._guard is not None and self._guard.has_stalled:
            return ToolError(f"{self.path} was not written, ffmpeg made no progress: is its disk or server gone?")
        if self._stderr.has_no_space:
            return InputError(f"{self.path} was not written, the disk is full: free some space or name another output")
        return ToolError(f"{self.path} was not written, ffmpeg failed: {words or 'no message'}")

    def _reserve(self) -> Path:
        """Create the output's folder if missing, and in it an empty file with a unique name."""
        remedy = "name an output file in a folder you may write to"
        try:
            if self.path.is_dir():
                raise InputError(f"{self.path} is a folder: {remedy}")
            if self.path.exists() and not stat.S_ISREG(self.path.stat().st_mode):
                raise InputError(f"{self.path} is a pipe or a device: {remedy}")
            missing = [folder for folder in self._target.parents if not folder.exists()]
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._made_folders = missing
            temporary = temporary_path(self._target.with_name(f"video{self.path.suffix.lower()}"))
            temporary.open("xb").close()
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}): {remedy}") from error
        return temporary

    def _discard(self) -> None:
        """End the encoder; remove the temporary file, and on failure the folders created for it."""
        if self._guard is not None:
            self._guard.end()
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    logger.debug("the encoder was stopped in the middle of a frame")
        if self._stderr is not None:
            self._stderr.finish()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
        for folder in self._made_folders:
            try:
                folder.rmdir()
            except OSError:
                break
        self._made_folders = []

    def _command(self, temporary: Path) -> list[str]:
        width, height = self.width + self.width % 2, self.height + self.height % 2
        streams = [rgb_to_bt709(raw_video_input(width, height, self.fps))]
        options: dict[str, Any] = {**_VIDEO_OPTIONS, "crf": self._crf}
        if self._audio is not None:
            audio, audio_options = sound_track(self._audio, temporary.suffix, self._audio_duration_s, self._pad_audio)
            streams.append(audio)
            options.update(audio_options)
        options.update(file_options(temporary.suffix, self._comment))
        output = ffmpeg.output(*streams, file_url(temporary), **options)
        return tool_command(ffmpeg_command(output, options=["-y", "-filter_complex_threads", _ENCODER_THREADS]))


def sound_track(
    audio: AudioInfo, suffix: str, duration_s: float | None = None, pad: bool = False
) -> tuple[Stream, dict[str, Any]]:
    """Return the sound of a file with that suffix as a stream, and the options of its codec; see `VideoWriter`."""
    limit = {} if duration_s is None else {"t": f"{duration_s:.6f}"}
    stream = media_input(audio.path, **limit)["a:0"]
    if pad:
        stream = stream.filter("apad", whole_dur=f"{duration_s or 0:.6f}")
    return stream, _audio_options(audio, suffix, must_encode=pad)


def file_options(suffix: str, comment: str | None = None) -> dict[str, Any]:
    """Return the options of a file with that suffix and comment."""
    options = {} if suffix == ".mkv" else {"movflags": "+faststart"}
    return options if comment is None else {**options, "metadata": f"comment={comment}"}


def _audio_options(audio: AudioInfo, suffix: str, must_encode: bool = False) -> dict[str, Any]:
    """Copy a codec that the container takes, or else encode AAC at the source's own rate and channels."""
    is_old_mp3 = audio.codec == "mp3" and audio.sample_rate < _LOWEST_MP3_RATE
    if audio.codec in COPIED_CODECS[suffix] and not is_old_mp3 and not must_encode:
        return {"acodec": "copy"}
    channels = max(1, audio.channels)
    down_mix = {"ac": 2} if channels > _MAX_AAC_CHANNELS else {}
    if must_encode and suffix == ".mkv":
        return {"acodec": "flac", **down_mix}
    return {"acodec": "aac", "audio_bitrate": down_mix.get("ac", channels) * _AAC_BITS_PER_CHANNEL, **down_mix}
