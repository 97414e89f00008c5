"""Properties of a video or audio file, read with ffprobe; unusable files are reported in one line."""

import json
import math
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Any

from latentsync.errors import InputError, LatentSyncError, ToolError
from latentsync.media.ffmpeg_tools import (
    CONTAINERS,
    MAX_PIXELS,
    PROBE_TIMEOUT_S,
    ToolFailedError,
    ffmpeg_command,
    media_input,
    probe_command,
    refusal,
    run_tool,
    tool_command,
)

_MAX_FPS = 240
_DEFAULT_FPS = Fraction(25)


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video's first video stream; width and height are of upright frames with square pixels."""

    path: Path
    width: int
    height: int
    fps: Fraction
    """Average frames per second of the source."""
    duration_s: float
    """Length of the video stream in seconds; 0 if unknown."""
    num_frames_estimate: int
    """Approximate number of frames at `fps`, at least 1."""
    has_audio: bool
    codec: str
    pixel_format: str
    color_space: str
    """YCbCr matrix, such as `bt709`; `unknown` if the file names none."""
    color_transfer: str
    start_pts: int | None
    """Timestamp of the first frame in units of the stream; None if unknown."""
    late_s: float = 0.0
    """Time from the start of the file, which is the start of its audio, to the first frame, in seconds."""

    def num_frames_at(self, fps: Fraction | float) -> int:
        """Return the approximate number of frames at another rate, at least 1."""
        return max(1, round(self.duration_s * fps))


@dataclass(frozen=True)
class AudioInfo:
    """Properties of a file's first audio stream."""

    path: Path
    sample_rate: int
    channels: int
    codec: str
    duration_s: float
    """Length of the audio stream in seconds; 0 if unknown."""


def probe_video(path: str | Path) -> VideoInfo:
    """Read the properties of a video, and decode one frame to check that there is one.

    Raises:
        InputError: the file is missing, a folder, empty, no media file, or has no frame that can be decoded.
    """
    path = Path(path)
    content = _probe(path, "video")
    stream = _find_stream(content, "video")
    if stream is None:
        raise InputError(f"{path} has no video stream: give a video file")
    _require_frame(path, file_stamp(path))
    width, height = _display_size(stream)
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} has frames of {width} x {height} pixels: make them smaller")
    fps = _average_fps(stream)
    duration_s = _duration(stream, content)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=fps,
        duration_s=duration_s,
        num_frames_estimate=max(1, round(duration_s * fps)),
        has_audio=_find_stream(content, "audio") is not None,
        codec=stream.get("codec_name", "unknown"),
        pixel_format=stream.get("pix_fmt", "unknown"),
        color_space=stream.get("color_space", "unknown"),
        color_transfer=stream.get("color_transfer", "unknown"),
        start_pts=stream.get("start_pts"),
        late_s=_late_s(stream, content),
    )


def probe_audio(path: str | Path) -> AudioInfo:
    """Read the properties of an audio file, or of a video's audio.

    Raises:
        InputError: the file is unusable or has no audio stream.
    """
    path = Path(path)
    content = _probe(path, "audio")
    stream = _find_stream(content, "audio")
    if stream is None:
        raise InputError(f"{path} has no audio stream: give a file with speech")
    return AudioInfo(
        path=path,
        sample_rate=int(stream.get("sample_rate", 0)),
        channels=int(stream.get("channels", 0)),
        codec=stream.get("codec_name", "unknown"),
        duration_s=_duration(stream, content),
    )


def probe_ahead(video: Path, *audio: Path) -> list[Thread]:
    """Probe the files in the returned threads; `probe_video` and `probe_audio` use the results, or raise the error."""

    def probe(function: Callable[[Path], object], path: Path) -> None:
        with suppress(LatentSyncError, OSError):
            function(path)

    pairs = [(probe_video, video), *((probe_audio, path) for path in audio)]
    threads = [Thread(target=probe, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    return threads


def probe_streams(path: Path, formats: Sequence[str] = CONTAINERS) -> Mapping[str, Any]:
    """Return ffprobe's description of a file: its ``streams`` and its ``format``.

    The result is cached as long as the file does not change, because a job probes its inputs in several places.

    Args:
        path: the file.
        formats: ffmpeg's names of the containers it may have.

    Raises:
        ToolError: the file cannot be read.
    """
    return _probed(path, tuple(formats), file_stamp(path))


@lru_cache(maxsize=64)
def _probed(path: Path, formats: tuple[str, ...], stamp: object) -> Mapping[str, Any]:
    command = probe_command(path, "-show_streams", "-show_format", "-of", "json", formats=formats)
    return json.loads(run_tool(command, PROBE_TIMEOUT_S))


def video_packets(path: Path) -> Iterator[tuple[int | None, str]]:
    """Yield timestamp (in units of the stream; None if unknown) and flags of the first video stream's packets.

    Packets come in the file's order; nothing is decoded.
    """
    options = ["-select_streams", "V:0", "-show_entries", "packet=pts,flags", "-of", "csv=p=0"]
    command = tool_command(probe_command(path, *options))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                fields = line.strip().split(",")
                if len(fields) >= 2:
                    yield (None if fields[0] == "N/A" else int(fields[0])), fields[1]
        finally:
            process.kill()


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change when the file changes; a cache key."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def require_file(path: Path, kind: str) -> None:
    """Check that a path is a readable, non-empty file before a program opens it: reading a pipe could block forever.

    Args:
        path: the file.
        kind: ``video`` or ``audio``, for the message.

    Raises:
        InputError: it is missing, empty, a folder, a pipe or a device, or not readable.
    """
    remedy = f"give the path of a{'n' if kind == 'audio' else ''} {kind} file"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a folder: {remedy}")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is a pipe or a device, which can be read only once: save it as a file first")
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty: {remedy}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} does not exist: {remedy}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    except ValueError as error:  # a null byte in the name
        raise InputError(f"{str(path)!r} is not a file name: {remedy}") from error


def _probe(path: Path, kind: str) -> Mapping[str, Any]:
    require_file(path, kind)
    try:
        return probe_streams(path)
    except ToolFailedError as error:
        _raise_refusal(path, error)
        raise InputError(f"{path} is not a {kind} file that ffmpeg can read: convert it or give another") from error


@lru_cache(maxsize=64)
def _require_frame(path: Path, stamp: object) -> None:
    """Check that one frame can be decoded, shrunk to 4 x 4 pixels."""
    video = media_input(path)["V:0"].filter("scale", 4, 4)
    output = video.output("pipe:1", vframes=1, pix_fmt="gray", format="rawvideo")
    try:
        has_frame = bool(run_tool(ffmpeg_command(output), PROBE_TIMEOUT_S))
    except ToolFailedError as error:
        _raise_refusal(path, error)
        has_frame = False
    if not has_frame:
        raise InputError(f"{path} has no video frame that can be decoded: give another video")


def _raise_refusal(path: Path, error: ToolError) -> None:
    """Raise InputError if ffmpeg's message shows that the input guard refused the file."""
    reason = refusal(str(error))
    if reason is not None:
        raise InputError(f"{path} {reason}") from error


def _find_stream(content: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Return the first stream of a kind, or None. The cover image of an audio file is not a video stream."""
    for stream in content.get("streams", []):
        is_cover = stream.get("disposition", {}).get("attached_pic", 0)
        if stream.get("codec_type") == kind and not is_cover:
            return stream
    return None


def _display_size(stream: Mapping[str, Any]) -> tuple[int, int]:
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    aspect = _fraction(stream.get("sample_aspect_ratio", "").replace(":", "/"))
    if aspect is not None and Fraction(1, 10) < aspect < 10:
        width = max(1, round(width * aspect))
    turned = abs(math.sin(math.radians(_rotation(stream)))) > math.cos(math.radians(1))
    return (height, width) if turned else (width, height)


def _rotation(stream: Mapping[str, Any]) -> float:
    """Return the rotation in degrees that players apply (phones record sideways and store the rotation)."""
    for side_data in stream.get("side_data_list", []):
        if "rotation" in side_data:
            return float(side_data["rotation"])
    return float(stream.get("tags", {}).get("rotate", 0))


def _average_fps(stream: Mapping[str, Any]) -> Fraction:
    for key in ("avg_frame_rate", "r_frame_rate"):
        fps = _fraction(stream.get(key, ""))
        if fps is not None and 0 < fps <= _MAX_FPS:
            return fps.limit_denominator(1001)
    return _DEFAULT_FPS


def _duration(stream: Mapping[str, Any], content: Mapping[str, Any]) -> float:
    for value in (stream.get("duration"), content.get("format", {}).get("duration")):
        try:
            duration_s = float(value)  # type: ignore[arg-type]  # None and "N/A" occur
        except (TypeError, ValueError):
            continue
        if math.isfinite(duration_s) and duration_s > 0:
            return duration_s
    return 0.0


def _late_s(stream: Mapping[str, Any], content: Mapping[str, Any]) -> float:
    """Return the time in seconds from the start of the file to that of a stream; 0 if one of them is unknown."""
    try:
        late_s = float(stream["start_time"]) - float(content["format"]["start_time"])
    except (KeyError, ValueError):
        return 0.0
    return max(0.0, late_s) if math.isfinite(late_s) else 0.0


def _fraction(text: str) -> Fraction | None:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None
