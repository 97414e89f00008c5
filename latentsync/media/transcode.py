"""Write media files with ffmpeg: clips of the data pipeline, bit for bit the same every time, and free conversions.

A clip has H.264 video (8-bit 4:2:0, BT.709) at a constant rate and lossless 16 kHz mono audio. The audio is ALAC: AAC
would begin with 1024 samples of priming and lose a little at every step. Many workers write clips at a time, so a
process uses one thread; x264's output depends on their number.
"""

import contextlib
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from latentsync.errors import ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg_tools import (
    SCALE_FLAGS,
    SEEK_EARLY_S,
    StderrTail,
    Stream,
    ffmpeg_command,
    file_url,
    finished_process,
    media_input,
    run_tool,
    seek_before,
    tool_command,
)
from latentsync.media.probe import VideoInfo
from latentsync.media.reader import default_matrix
from latentsync.storage.atomic import atomic_write

RAW_FORMATS = ("s16le",)
"""Formats without a header, which this program writes for itself."""

_ONE_THREAD = ("-filter_complex_threads", "1")
_PRESET = "veryfast"
"""Files are large anyway at the quality of clips, and the next step encodes again; a fast preset saves most of the
time."""

BT709_TAGS = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}
"""Options of an output that declare BT.709 of limited range."""

_VIDEO_OPTIONS = {"vcodec": "libx264", "preset": _PRESET, "pix_fmt": "yuv420p", "threads": 1, **BT709_TAGS}
_AUDIO_OPTIONS = {"acodec": "alac", "sample_fmt": "s16p", "ar": SAMPLE_RATE, "ac": 1}
_FILE_OPTIONS = {
    "map_metadata": -1, "map_chapters": -1, "fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact",
    "video_track_timescale": 12800, "movflags": "+faststart",
}  # fmt: skip
"""No date, program name, chapter or tag of the source, so that equal clips are equal files."""

_MATRICES = {
    "bt709": "bt709", "bt601": "bt601", "smpte170m": "bt601", "bt470bg": "bt601", "fcc": "fcc",
    "smpte240m": "smpte240m", "bt2020nc": "bt2020", "bt2020c": "bt2020",
}  # fmt: skip
"""ffprobe's name of a YCbCr matrix: the name that the `scale` filter takes."""


def write_media(streams: Sequence[Stream], target: Path, *, options: Sequence[str] = (), **output_options: Any) -> None:
    """Write ffmpeg-python streams into one file; an existing file is replaced.

    Args:
        streams: inputs of `media_input`, or what filters made of them.
        target: the file; its suffix names the container.
        options: global options of ffmpeg.
        **output_options: ffmpeg options of the output; None for an option without a value.

    Raises:
        ToolError: ffmpeg failed or could not write the whole file.
    """
    output = ffmpeg.output(*streams, file_url(target), **output_options)
    run_tool(ffmpeg_command(output, options=["-y", *options]))


def combine_streams(streams: Sequence[Stream], filter_name: str, **parameters: Any) -> Stream:
    """Apply a filter of several inputs, such as `hstack`."""
    return ffmpeg.filter(list(streams), filter_name, **parameters)


def encode_frames(
    frames: Iterable[NDArray[np.uint8]], video: Stream, audio_path: Path | None, target: Path, **options: Any
) -> None:
    """Encode frames and an audio file with options of the caller's choice; the file appears whole or not at all.

    Args:
        frames: (height, width, 3) uint8 RGB, or in the format of `video`.
        video: `raw_video_input` of the frames' size, or what filters made of it.
        audio_path: the audio; None for a video without sound.
        target: the file to write; its suffix names the container.
        **options: ffmpeg options of the output.

    Raises:
        ToolError: ffmpeg failed or could not write the whole file. An error of `frames` is raised unchanged.
    """
    with atomic_write(target) as temporary:
        audio = [] if audio_path is None else [media_input(audio_path)["a:0"]]
        output = ffmpeg.output(video, *audio, file_url(temporary), **options)
        command = tool_command(ffmpeg_command(output, options=["-y"]))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # no shell
            assert process.stdin is not None
            assert process.stderr is not None
            stderr = StderrTail(process.stderr)
            try:
                with contextlib.suppress(BrokenPipeError):
                    for frame in frames:
                        process.stdin.write(np.ascontiguousarray(frame).data)
                    process.stdin.close()
                process.wait()
            except BaseException:  # of the frames: ffmpeg would wait for the next one
                process.kill()
                raise
            finally:
                reason = stderr.finish()
        if process.returncode != 0 or stderr.is_cut_short:
            raise ToolError(f"ffmpeg could not write {target}: {reason or 'no message'}")


def rgb_to_bt709(video: Stream) -> Stream:
    """Convert RGB frames to YCbCr with the BT.709 matrix and limited range."""
    return video.filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALE_FLAGS)


def cut_clip(source: VideoInfo, target: Path, frames: range, samples: range, *, fps: int, crf: int) -> None:
    """Cut exact frames and samples out of a clip. It seeks, so the cost is independent of the clip's length.

    Args:
        source: a clip, with frame i at i / fps seconds exactly.
        target: the file to write.
        frames: frames to keep.
        samples: samples at 16 kHz to keep.
        fps: frames per second.
        crf: x264's quality, 0 (lossless) to 51.

    Raises:
        ToolError: ffmpeg failed.
    """
    start_s = frames.start / fps
    seek = seek_before(start_s) if start_s > SEEK_EARLY_S else {}
    clip = media_input(source.path, threads=1, **seek)
    video = clip["V:0"].filter("settb", f"1/{fps}").filter("trim", start_pts=frames.start, end_pts=frames.stop)
    video = _to_bt709(video.filter("setpts", "PTS-STARTPTS"), _matrix(source, source.color_space))
    audio = clip["a:0"].filter("asettb", f"1/{SAMPLE_RATE}")
    audio = audio.filter("atrim", start_pts=samples.start, end_pts=samples.stop).filter("asetpts", "PTS-STARTPTS")
    _write_clip([video, audio], target, crf=crf, **_VIDEO_OPTIONS, **_AUDIO_OPTIONS)


def resample_video(
    source: VideoInfo,
    target: Path,
    *,
    fps: int,
    crf: int,
    start_s: Fraction,
    max_frames: int,
    color_space: str,
    is_full_range: bool,
    is_interlaced: bool,
) -> None:
    """Encode a video's first stream at a constant rate, upright, with square pixels and even sides; no audio.

    Frames go to the nearest point of the grid, as in `VideoReader`. Interlaced frames are deinterlaced (bwdif), an odd
    side loses its last row or column.

    Args:
        source: the video.
        target: the file to write.
        fps: frames per second.
        crf: x264's quality, 0 (lossless) to 51.
        start_s: the source's timestamp that becomes 0, in seconds.
        max_frames: most frames to write.
        color_space: ffprobe's name of the YCbCr matrix, or `unknown`.
        is_full_range: luma is 0-255 instead of 16-235.
        is_interlaced: frames consist of two fields.

    Raises:
        ToolError: ffmpeg failed.
    """
    video = media_input(source.path, threads=1)["V:0"]
    if is_interlaced:
        video = video.filter("bwdif", mode="send_frame", deint="all")
    video = video.filter("setpts", _shifted_to(start_s)).filter("fps", fps, start_time=0)
    video = video.filter("scale", source.width, source.height, flags=SCALE_FLAGS)
    video = video.filter("crop", source.width // 2 * 2, source.height // 2 * 2, 0, 0, exact=1)
    video = _to_bt709(video, _matrix(source, color_space), is_full_range=is_full_range).filter("setsar", 1)
    _write_clip([video], target, crf=crf, vframes=max_frames, **_VIDEO_OPTIONS)


def decode_audio(path: Path, target: Path, start_s: Fraction) -> None:
    """Write a file's first audio stream as raw 16-bit mono samples at 16 kHz; late starts and gaps become silence.

    Args:
        path: the file.
        target: the file to write.
        start_s: the source's timestamp at which the samples begin, in seconds.

    Raises:
        ToolError: ffmpeg failed.
    """
    audio = media_input(path, threads=1)["a:0"].filter("asetpts", _shifted_to(start_s))
    audio = audio.filter("aresample", **{"async": 1, "first_pts": 0})
    options = {"ac": 1, "ar": SAMPLE_RATE, "acodec": "pcm_s16le", "format": "s16le"}
    write_media([audio], target, options=["-copyts"], **options)


def join_clip(video: Path, audio: Path, target: Path, num_samples: int, video_offset_s: Fraction = Fraction(0)) -> None:
    """Join an unchanged video stream with samples that are cut or padded with silence to an exact number.

    Args:
        video: file whose video stream is copied.
        audio: raw 16-bit mono samples at 16 kHz.
        target: the file to write.
        num_samples: samples to write.
        video_offset_s: added to the video's timestamps, in seconds.

    Raises:
        ToolError: ffmpeg failed, or the container does not take the video's codec.
    """
    offset = {"itsoffset": f"{float(video_offset_s):.6f}"} if video_offset_s else {}
    copied = media_input(video, **offset)["V:0"]
    samples = media_input(audio, RAW_FORMATS, format="s16le", ar=SAMPLE_RATE, ac=1)["a:0"]
    samples = samples.filter("apad", whole_len=num_samples).filter("atrim", end_sample=num_samples)
    options = {"vcodec": "copy", **_AUDIO_OPTIONS, **_FILE_OPTIONS}
    write_media([copied, samples], target, options=["-copyts"], **options)


def list_decoded_frames(
    path: Path, video_list: Path, audio_list: Path, gain: float
) -> "subprocess.CompletedProcess[bytes]":
    """Decode a file's first video and first audio stream strictly and list their frames (ffmpeg's `framecrc`).

    Each list is an output of its own, so that ffmpeg never holds back frames of one stream for the other.

    Args:
        path: the file.
        video_list: file to write for the video frames.
        audio_list: file to write for the audio frames, whose checksums are of 16-bit samples.
        gain: factor of the samples before they are rounded to 16 bits.

    Returns:
        The finished process; it stops at the first damaged packet or concealed frame (`-xerror`).
    """
    source = media_input(path, threads=1)
    video = source["V:0"].output(file_url(video_list), vcodec="wrapped_avframe", format="framecrc")
    audio = source["a:0"].filter("aformat", sample_fmts="fltp").filter("volume", f"{gain:.9f}", precision="float")
    audio = audio.output(file_url(audio_list), acodec="pcm_s16le", format="framecrc")
    return finished_process(ffmpeg_command(video, audio, options=["-y", "-xerror", "-copyts"]))


def cut_audio(path: Path, target: Path, seconds: float) -> None:
    """Write the beginning of a file's audio. Raises ToolError."""
    write_media([media_input(path)["a:0"]], target, t=f"{seconds:.3f}")


def _write_clip(streams: Sequence[Stream], target: Path, **options: Any) -> None:
    write_media(streams, target, options=["-copyts", *_ONE_THREAD], **options, **_FILE_OPTIONS)


def _shifted_to(start_s: Fraction) -> str:
    """Return the expression of timestamps that are 0 at `start_s`."""
    return f"PTS-round({float(start_s):.9f}/TB)"


def _matrix(source: VideoInfo, color_space: str) -> str:
    return default_matrix(source) if color_space == "unknown" else color_space


def _to_bt709(video: Stream, matrix: str, *, is_full_range: bool = False) -> Stream:
    """Convert any colours to 8-bit BT.709 of limited range.

    The conversion goes through RGB, because swscale converts one YCbCr matrix into another in 8 bits only. HDR (PQ,
    HLG) keeps its transfer curve, as in `VideoReader`: pale, but the same in training and in use.
    """
    if matrix == "bt709" and not is_full_range:
        return video.filter("format", "yuv420p")
    source = {"in_color_matrix": _MATRICES[matrix]} if matrix in _MATRICES else {}
    video = video.filter("scale", in_range="pc" if is_full_range else "tv", flags=SCALE_FLAGS, **source)
    return rgb_to_bt709(video.filter("format", "gbrp")).filter("format", "yuv420p")
