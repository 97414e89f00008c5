"""What a raw file says of its first video and its first sound stream, as far as copying or converting needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.errors import InputError, ToolError
from latentsync.media.ffmpeg_tools import MissingToolError, refusal
from latentsync.media.probe import probe_streams, video_packets
from preprocess.encoding import FPS

_COPIED_CONTAINERS = {"mov", "mp4", "matroska"}
"""Those that keep the stream's parameters in front, as mp4 wants them, and never change them midway."""
_COPIED_MATRICES = {"unknown", "bt709", "smpte170m", "bt470bg"}
_HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
_INTERLACED = {"tt", "bb", "tb", "bt"}
_MAX_REORDER = 64
"""More packets than any H.264 stream holds back to reorder them."""


@dataclass(frozen=True)
class RawVideo:
    """The first video stream that is not a cover picture; times in seconds, as the file has them."""

    start_s: Fraction
    time_base: Fraction
    color_space: str
    is_full_range: bool
    is_interlaced: bool
    is_plain: bool
    """H.264 8-bit 4:2:0, progressive, upright, square pixels, even sides, standard range, in a container of its kind:
    it may be copied, if its time stamps fit too."""


@dataclass(frozen=True)
class RawSound:
    """The first sound stream."""

    start_s: Fraction


@dataclass(frozen=True)
class RawStreams:
    """What a raw file holds."""

    video: RawVideo | None
    sound: RawSound | None
    stated_duration_s: float | None
    """Length of the file as its header says it; None where it does not, or where streams we ignore may be longer."""


def read_raw_streams(path: Path) -> RawStreams:
    """Ask ffprobe. Raises InputError where it cannot read the file as media."""
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: give a video file")
        content = probe_streams(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a video file") from error
    except MissingToolError:
        raise
    except ToolError as error:
        why = refusal(str(error))
        raise InputError(f"{path} {why or f'cannot be read as media ({error})'}") from error
    streams: list[Mapping[str, Any]] = content.get("streams", [])
    container: Mapping[str, Any] = content.get("format", {})
    videos = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic", 0)
    ]
    sounds = [stream for stream in streams if stream.get("codec_type") == "audio"]
    duration = container.get("duration") if len(streams) == len(videos[:1]) + len(sounds[:1]) else None
    return RawStreams(
        video=_video(videos[0], container) if videos else None,
        sound=RawSound(_start(sounds[0])) if sounds else None,
        stated_duration_s=None if duration is None else float(duration),
    )


def count_on_grid(path: Path, video: RawVideo) -> int | None:
    """How many frames the stream has if frame i stands at start_s + i / 25 s exactly and the first is a key frame.

    Else None. It reads the packets' time stamps as they come, and decodes nothing.
    """
    waiting: set[int] = set()
    num_frames = 0
    for number, (pts, flags) in enumerate(video_packets(path)):
        place = None if pts is None else (pts * video.time_base - video.start_s) * FPS
        if place is None or place.denominator != 1 or "D" in flags or (number == 0 and "K" not in flags):
            return None
        waiting.add(int(place))
        while num_frames in waiting:
            waiting.remove(num_frames)
            num_frames += 1
        if len(waiting) > _MAX_REORDER:
            return None
    return num_frames if num_frames and not waiting else None


def _video(stream: Mapping[str, Any], container: Mapping[str, Any]) -> RawVideo:
    matrix = stream.get("color_space", "unknown")
    is_interlaced = stream.get("field_order") in _INTERLACED
    pixel_format = stream.get("pix_fmt", "")
    is_full_range = stream.get("color_range") == "pc" or pixel_format.startswith("yuvj")
    has_matrix = any("displaymatrix" in data or "rotation" in data for data in stream.get("side_data_list", []))
    is_plain = (
        stream.get("codec_name") == "h264"
        and pixel_format == "yuv420p"
        and not (is_interlaced or is_full_range or has_matrix)
        and stream.get("sample_aspect_ratio", "1:1") in ("1:1", "0:1", "N/A")
        and int(stream.get("width", 1)) % 2 == int(stream.get("height", 1)) % 2 == 0
        and matrix in _COPIED_MATRICES
        and stream.get("color_transfer") not in _HDR_TRANSFERS
        and bool(_COPIED_CONTAINERS & set(container.get("format_name", "").split(",")))
    )
    return RawVideo(
        start_s=_start(stream),
        time_base=Fraction(stream["time_base"]),
        color_space=matrix,
        is_full_range=is_full_range,
        is_interlaced=is_interlaced,
        is_plain=is_plain,
    )


def _start(stream: Mapping[str, Any]) -> Fraction:
    return int(stream.get("start_pts", 0)) * Fraction(stream.get("time_base", "1/1"))
