"""What a visitor may hand in; everything else is refused before any work starts.

Uploads are hostile until looked at: ffmpeg also opens playlists and scripts that name other files of this machine, so
only plain containers pass, and lengths are measured by decoding and not taken from what the file says of itself.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import ConfigError, InputError, ToolError
from latentsync.media import audio_samples
from latentsync.media.ffmpeg_tools import MissingToolError
from latentsync.media.probe import VideoInfo, probe_audio, probe_streams, probe_video

logger = logging.getLogger(__name__)

CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif"),
    *("wav", "w64", "aiff", "mp3", "flac", "aac", "amr", "caf", "ac3", "eac3"),
)
"""ffmpeg's names of the containers that hold their own content and cannot name other files."""

MAX_FPS = 60
"""The length limit counts frames at this rate, where the source's own rate is kept."""

_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much one job may ask for.

    Attributes:
        max_seconds: length of the speech, and so of the result.
        max_megabytes: size of each file.
        max_side: longer side of the video in pixels.
        max_steps: denoising steps.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_seconds: float = 120.0
    max_megabytes: float = 500.0
    max_side: int = 4096
    max_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("max_seconds", "max_megabytes", "max_side", "max_steps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be positive")

    def check_video(self, path: Path) -> VideoInfo:
        """What a video holds.

        Raises:
            InputError: it is too large, no plain video, or cannot be decoded.
        """
        self._check_file(path)
        info = probe_video(path)
        self._check_side(path, info.width, info.height)
        return info

    def check_speech(self, path: Path) -> float:
        """The length of a speech file in seconds.

        Raises:
            InputError: it is too large, too long, no plain sound or video file, or cannot be decoded.
        """
        self._check_file(path)
        probe_audio(path)
        seconds = decoded_seconds(path, self.max_seconds + 1)
        if seconds > self.max_seconds:
            raise InputError(f"{path} lasts longer than {self.max_seconds:g} s: cut it into shorter pieces")
        return seconds

    def check_frames(self, video: VideoInfo, seconds: float, video_fps: str) -> None:
        """Whether the result has not too many frames.

        Raises:
            InputError: it has, because of the source's high frame rate.
        """
        if video_fps == "source" and video.fps * seconds > MAX_FPS * self.max_seconds:
            raise InputError(f"{video.path} has {float(video.fps):g} frames a second: use 25, or a shorter speech")

    def _check_file(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): upload it again") from error
        if size > self.max_megabytes * _MEGABYTE:
            raise InputError(f"{path} has {size / _MEGABYTE:.0f} MB: {self.max_megabytes:g} MB are the most")
        for width, height in check_container(path):  # before the first frame is decoded
            self._check_side(path, width, height)

    def _check_side(self, path: Path, width: int, height: int) -> None:
        if max(width, height) > self.max_side:
            raise InputError(f"{path} has {width}x{height} pixels: make it {self.max_side} at most on its longer side")


def check_container(path: Path) -> list[tuple[int, int]]:
    """Refuses files whose container could make ffmpeg open other files or addresses.

    ffmpeg decides by content and name what a file is, so it decides alike when the file is read later.

    Returns:
        Width and height of every stream that has pictures.

    Raises:
        InputError: the file is empty or none of `CONTAINERS`.
    """
    try:
        streams = probe_streams(path, CONTAINERS).get("streams", [])
    except MissingToolError:
        raise
    except ToolError as error:
        raise InputError(f"{path} is not a video or sound file that can be used: convert it to mp4 or wav") from error
    return [(stream["width"], stream["height"]) for stream in streams if {"width", "height"} <= stream.keys()]


def decoded_seconds(path: Path, most: float) -> float:
    """Seconds of sound that come out when a file is decoded, which stops after `most`; 0 where nothing comes out.

    Raises:
        InputError: it cannot be decoded at all.
    """
    try:
        return audio_samples.decoded_seconds(path, most)
    except MissingToolError:
        raise
    except ToolError as error:
        raise InputError(f"{path} cannot be decoded: convert it to wav or give another") from error
