"""Audio for the networks: the first audio stream of any file as 16 kHz mono, decoded once into a temporary file."""

import logging
import os
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import (
    NO_SPACE,
    PROBE_TIMEOUT_S,
    StallGuard,
    Stream,
    ffmpeg_command,
    finished_process,
    is_write_error,
    last_line,
    media_input,
    run_tool,
    tool_command,
)
from latentsync.media.probe import AudioInfo, file_stamp, probe_audio

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Samples per second, mono."""

_BYTES_PER_SAMPLE = 2
_FULL_SCALE = 32768.0

_FLOAT_CODECS = ("pcm_f", "wavpack")
"""Prefixes of ffmpeg's names of floating-point codecs; other codecs cannot represent NaN."""

_BLOCK_BYTES = 1 << 22


class AudioSamples:
    """Decoded audio in an unnamed temporary file of 16-bit samples (2 MB per minute), with random access.

    A context manager; the file is removed on exit or when the object is deleted.
    """

    def __init__(self, file: IO[bytes], first: int = 0) -> None:
        """
        Args:
            file: raw little-endian 16-bit mono samples at 16 kHz.
            first: number of samples to leave out at the beginning.
        """
        self._file = file
        self._first = first
        self._num_samples = max(0, os.fstat(file.fileno()).st_size // _BYTES_PER_SAMPLE - first)
        self._lock = threading.Lock()

    @classmethod
    def decode(cls, path: str | Path, folder: Path | None = None, start_s: float = 0.0) -> "AudioSamples":
        """Decode an audio file, or the audio of a video.

        Timestamps are honoured as players do: a late start and gaps become silence. The resampler is ffmpeg's own, as
        in whisper's `load_audio`.

        Args:
            path: the file.
            folder: folder of the temporary file; None is the system's.
            start_s: time of the first sample in the file, in seconds.

        Raises:
            InputError: the file has no audio that can be decoded, or the temporary folder is full or not writable.
        """
        path = Path(path)
        probe_audio(path)
        try:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise InputError(f"the temporary folder {folder} cannot be written ({error.strerror})") from error
        try:
            return cls._decode_into(path, file, round(start_s * SAMPLE_RATE))
        except BaseException:
            file.close()
            raise

    @classmethod
    def _decode_into(cls, path: Path, file: IO[bytes], first: int) -> "AudioSamples":
        process = finished_process(ffmpeg_command(_mono_output(media_input(path))), file)
        stderr = process.stderr.decode(errors="replace")
        reason = last_line(stderr.splitlines())
        if NO_SPACE in stderr:
            raise InputError("the temporary folder is full: free some space or name another with --temp_dir")
        if is_write_error(stderr):
            raise InputError(f"the temporary folder cannot be written ({reason}): name another with --temp_dir")
        samples = cls(file, first)
        if samples.num_samples == 0:
            raise InputError(f"{path} has no audio that can be decoded: give another file with speech")
        if process.returncode != 0 or stderr:
            logger.warning("%s is damaged: %.2f s of audio were read (ffmpeg: %s)", path, samples.duration_s, reason)
        return samples

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self._num_samples

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self._num_samples / SAMPLE_RATE

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) as (stop - start,) float32 in [-1, 1); zeros outside [0, num_samples)."""
        result = np.zeros(max(stop - start, 0), dtype=np.float32)
        low, high = max(start, 0), min(stop, self._num_samples)
        if low < high:
            with self._lock:
                self._file.seek((self._first + low) * _BYTES_PER_SAMPLE)
                stored = np.frombuffer(self._file.read((high - low) * _BYTES_PER_SAMPLE), dtype="<i2")
            result[low - start : high - start] = stored / np.float32(_FULL_SCALE)
        return result

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __enter__(self) -> "AudioSamples":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_finite_samples(audio: AudioInfo) -> None:
    """Check that floating-point audio has no NaN and no infinity, at which an encoder would fail midway.

    The file is read once, in blocks, as long as it does not change.

    Raises:
        InputError: a sample is NaN or infinite.
    """
    if audio.codec.startswith(_FLOAT_CODECS):
        _check_finite_samples(audio, file_stamp(audio.path))


def decoded_seconds(path: Path, max_seconds: float) -> float:
    """Return the length of a file's audio as measured by decoding, in seconds; 0 if nothing can be decoded.

    Args:
        path: the file.
        max_seconds: decoding stops there.

    Raises:
        ToolError: ffmpeg is missing; ToolFailedError if it failed.
    """
    output = media_input(path, t=f"{max_seconds:g}")["a:0"].output("-", format="null")
    command = ffmpeg_command(output, options=["-progress", "pipe:1", "-nostats"])
    progress = run_tool(command, PROBE_TIMEOUT_S + max_seconds).splitlines()
    times = [line.removeprefix("out_time_us=") for line in progress if line.startswith("out_time_us=")]
    return max((int(time) for time in times if time.isdecimal()), default=0) / 1e6


def count_samples_strictly(path: Path, with_audio: bool = True) -> int | None:
    """Decode every frame and every sample of a file; None on any error or warning of ffmpeg.

    Args:
        path: a video.
        with_audio: False decodes the video stream only.

    Returns:
        The number of samples at 16 kHz; 0 without audio.
    """
    source = media_input(path)
    outputs = [source["V:0"].output("-", format="null")]
    if with_audio:
        outputs.append(_mono_output(source))
    process = finished_process(ffmpeg_command(*outputs))
    if process.returncode != 0 or process.stderr.strip():
        return None
    return len(process.stdout) // _BYTES_PER_SAMPLE


def _mono_output(source: Stream) -> Stream:
    """Write 16-bit mono samples at 16 kHz to standard output; late starts and gaps are filled with silence."""
    audio = source["a:0"].filter("aresample", **{"async": 1, "first_pts": 0})
    return audio.output("pipe:1", ac=1, ar=SAMPLE_RATE, acodec="pcm_s16le", format="s16le")


@lru_cache(maxsize=64)
def _check_finite_samples(audio: AudioInfo, stamp: object) -> None:
    output = media_input(audio.path)["a:0"].output("pipe:1", acodec="pcm_f32le", format="f32le")
    command = tool_command(ffmpeg_command(output, log_level="quiet"))
    num_samples = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:  # no shell
        assert process.stdout is not None
        guard = StallGuard(process)
        try:
            while True:
                with guard.waiting():
                    block = process.stdout.read(_BLOCK_BYTES)
                finite = np.isfinite(np.frombuffer(block[: len(block) // 4 * 4], dtype="<f4"))
                if not finite.all():
                    time_s = (num_samples + int(np.argmin(finite))) / max(1, audio.channels * audio.sample_rate)
                    raise InputError(f"{audio.path} holds NaN or infinity at {time_s:.3f} s: export the audio again")
                if not block:
                    return
                num_samples += len(finite)
        finally:
            guard.end()
            process.kill()
