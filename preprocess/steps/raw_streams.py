"""Properties of a raw file's first video and audio stream, as steps 1 and 2 need them."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import ToolFailedError, refusal
from latentsync.media.probe import probe_streams, video_packets
from preprocess.steps.clip_files import FPS

_COPIED_CONTAINERS = {"mov", "mp4", "matroska"}
"""Containers that store the stream's parameters once at the start, as mp4 requires, and never change them later."""
_COPIED_MATRICES = {"unknown", "bt709", "smpte170m", "bt470bg"}
_HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
_INTERLACED = {"tt", "bb", "tb", "bt"}
_MAX_REORDER = 64
"""More packets than an H.264 stream may delay for reordering."""


@dataclass(frozen=True)
class RawVideo:
    """The first video stream that is not a cover image.

    Attributes:
        start_s: time stamp of its start in seconds.
        time_base: unit of its time stamps in seconds.
        color_space: YCbCr matrix as ffprobe names it, or ``unknown``.
        is_full_range: True if values are 0-255 instead of 16-235.
        is_interlaced: True if frames consist of two fields.
        is_plain: True if the stream can be copied into a clip, provided that its time stamps fit: H.264, 8-bit 4:2:0,
            progressive, upright, square pixels, even sides, standard range, in one of `_COPIED_CONTAINERS`.
    """

    start_s: Fraction
    time_base: Fraction
    color_space: str
    is_full_range: bool
    is_interlaced: bool
    is_plain: bool


@dataclass(frozen=True)
class RawAudio:
    """The first audio stream.

    Attributes:
        start_s: time stamp of its start in seconds.
    """

    start_s: Fraction


@dataclass(frozen=True)
class RawStreams:
    """Streams of a raw file.

    Attributes:
        video, audio: the first stream of each kind, or None.
        stated_duration_s: duration in the header in seconds; None if it has none, or if streams that are not used could
            be longer.
    """

    video: RawVideo | None
    audio: RawAudio | None
    stated_duration_s: float | None


def read_raw_streams(path: Path) -> RawStreams:
    """Read the streams of a file with ffprobe.

    Raises:
        InputError: the file cannot be read as media.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: give a video file")
        content = probe_streams(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a video file") from error
    except ToolFailedError as error:
        reason = refusal(str(error))
        raise InputError(f"{path} {reason or f'cannot be read as media ({error})'}") from error
    streams: list[Mapping[str, Any]] = content.get("streams", [])
    container: Mapping[str, Any] = content.get("format", {})
    videos = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic", 0)
    ]
    audios = [stream for stream in streams if stream.get("codec_type") == "audio"]
    duration = container.get("duration") if len(streams) == len(videos[:1]) + len(audios[:1]) else None
    return RawStreams(
        video=_to_video(videos[0], container) if videos else None,
        audio=RawAudio(_start(audios[0])) if audios else None,
        stated_duration_s=None if duration is None else float(duration),
    )


def count_on_grid(path: Path, video: RawVideo) -> int | None:
    """Return the number of frames if frame i is exactly at start_s + i / 25 s and the first is a key frame, else None.

    The time stamps of the packets are read; nothing is decoded.
    """
    waiting: set[int] = set()
    num_frames = 0
    for number, (pts, flags) in enumerate(video_packets(path)):
        index = None if pts is None else (pts * video.time_base - video.start_s) * FPS
        if index is None or index.denominator != 1 or "D" in flags or (number == 0 and "K" not in flags):
            return None
        waiting.add(int(index))
        while num_frames in waiting:
            waiting.remove(num_frames)
            num_frames += 1
        if len(waiting) > _MAX_REORDER:
            return None
    return num_frames if num_frames and not waiting else None


def _to_video(stream: Mapping[str, Any], container: Mapping[str, Any]) -> RawVideo:
    color_space = stream.get("color_space", "unknown")
    is_interlaced = stream.get("field_order") in _INTERLACED
    pixel_format = stream.get("pix_fmt", "")
    is_full_range = stream.get("color_range") == "pc" or pixel_format.startswith("yuvj")
    is_rotated = any("displaymatrix" in data or "rotation" in data for data in stream.get("side_data_list", []))
    is_plain = (
        stream.get("codec_name") == "h264"
        and pixel_format == "yuv420p"
        and not (is_interlaced or is_full_range or is_rotated)
        and stream.get("sample_aspect_ratio", "1:1") in ("1:1", "0:1", "N/A")
        and int(stream.get("width", 1)) % 2 == int(stream.get("height", 1)) % 2 == 0
        and color_space in _COPIED_MATRICES
        and stream.get("color_transfer") not in _HDR_TRANSFERS
        and bool(_COPIED_CONTAINERS & set(container.get("format_name", "").split(",")))
    )
    return RawVideo(
        start_s=_start(stream),
        time_base=Fraction(stream["time_base"]),
        color_space=color_space,
        is_full_range=is_full_range,
        is_interlaced=is_interlaced,
        is_plain=is_plain,
    )


def _start(stream: Mapping[str, Any]) -> Fraction:
    return int(stream.get("start_pts", 0)) * Fraction(stream.get("time_base", "1/1"))
