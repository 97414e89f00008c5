"""Limits of uploads and jobs, checked before the work starts.

Uploads are untrusted: ffmpeg also opens playlists and scripts that refer to other files of the server, so only plain
containers are accepted, and durations are measured by decoding instead of being read from the header.
"""

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError, InputError
from latentsync.media import audio_samples
from latentsync.media.ffmpeg_tools import ToolFailedError
from latentsync.media.probe import VideoInfo, probe_audio, probe_streams, probe_video
from latentsync.media.reader import VideoReader
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.voices import Voices

logger = logging.getLogger(__name__)

CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif"),
    *("wav", "w64", "aiff", "mp3", "flac", "aac", "amr", "caf", "ac3", "eac3"),
)
"""ffmpeg's names of the containers that cannot refer to other files."""

MAX_FPS = 60
"""If the frame rate of the source is kept, the result may have at most as many frames as at this rate."""

MAX_PEOPLE = 8
"""People of one job; each takes memory for a few windows of frames."""

_MEGABYTE = 1024 * 1024

_COUNTED_FPS, _COUNTED_SIZE = 25, (16, 16)
"""Frame rate and size at which the frames of a video are counted."""


@dataclass(frozen=True)
class Limits:
    """Limits of one job.

    Attributes:
        max_seconds: duration of the driving audio, and so of the result; of a video that is shown to its end too.
        max_megabytes: size of each file, in MiB.
        max_side: longer side of the video, in pixels.
        max_steps: number of denoising steps.
        max_minutes: training time of an adaptation; its footage may last `max_seconds`.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_seconds: float = 120.0
    max_megabytes: float = 500.0
    max_side: int = 4096
    max_steps: int = 100
    max_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_seconds", "max_megabytes", "max_side", "max_steps", "max_minutes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be positive")

    def check_video(self, path: Path) -> VideoInfo:
        """Check a video and return its properties.

        Raises:
            InputError: it is too large, not in a plain container, or cannot be decoded.
        """
        self._check_file(path)
        info = probe_video(path)
        self._check_side(path, info.width, info.height)
        return info

    def check_length(self, video: VideoInfo) -> float:
        """Check the length of a video that is shown to its end, and return it in seconds.

        Raises:
            InputError: it is too long, or cannot be decoded.
        """
        max_frames = int(self.max_seconds * _COUNTED_FPS)
        with VideoReader(video.path, Fraction(_COUNTED_FPS), max_frames + 1, _COUNTED_SIZE, info=video) as frames:
            num_frames = sum(1 for _ in frames)
        if num_frames > max_frames:
            raise InputError(
                f"{video.path} lasts longer than {self.max_seconds:g} s: cut it, or use another sync mode than silence"
            )
        return num_frames / _COUNTED_FPS

    def check_speech(self, path: Path) -> float:
        """Check driving audio and return its duration in seconds.

        Raises:
            InputError: it is too large, too long, not in a plain container, or cannot be decoded.
        """
        self._check_file(path)
        probe_audio(path)
        seconds = decoded_seconds(path, self.max_seconds + 1)
        if seconds > self.max_seconds:
            raise InputError(f"{path} lasts longer than {self.max_seconds:g} s: cut it into shorter parts")
        return seconds

    def check_steps(self, options: LipsyncOptions) -> None:
        """Raise InputError for too many denoising steps."""
        if options.num_inference_steps > self.max_steps:
            raise InputError(f"inference_steps is {options.num_inference_steps}: the maximum is {self.max_steps}")

    def check_files(self, video: Path, voices: Voices, options: LipsyncOptions) -> VideoInfo:
        """Check the files of a lip-sync job; return the properties of the source video.

        With `voices.EVERYONE` the number of people is checked when they are found.

        Raises:
            InputError: a file exceeds a limit or cannot be read.
        """
        info = self.check_video(video)
        seconds = {path: self.check_speech(path) for path in voices.files()}
        longest = max(seconds[path] for path in voices.speeches)
        if options.sync_mode == "silence":
            longest = max(longest, self.check_length(info))
        self.check_frames(info, longest, options.video_fps, len(voices.voices))
        return info

    def check_frames(self, video: VideoInfo, seconds: float, video_fps: str, num_people: int = 1) -> None:
        """Check the number of frames of the result, and the people in them.

        Args:
            video: the source.
            seconds: duration of the longest driving audio.
            video_fps: frame rate of the result, ``25`` or ``source``.
            num_people: people who are generated.

        Raises:
            InputError: the frame rate of the source is too high for this duration, or see `check_people`.
        """
        if video_fps == "source" and video.fps * seconds > MAX_FPS * self.max_seconds:
            raise InputError(f"{video.path} has {float(video.fps):g} frames per second: use 25, or shorter audio")
        self.check_people(num_people, round(seconds * (video.fps if video_fps == "source" else 25)))

    def check_people(self, num_people: int, num_frames: int) -> None:
        """Check the work for several people: each counts as much as one person alone.

        Args:
            num_people: people who are generated.
            num_frames: frames of the result.

        Raises:
            InputError: there are too many people, or too many for this duration.
        """
        if num_people > MAX_PEOPLE:
            raise InputError(f"{num_people} people are to speak: the maximum is {MAX_PEOPLE}")
        if num_people > 1 and num_people * num_frames > MAX_FPS * self.max_seconds:
            raise InputError(
                f"{num_people} people in {num_frames} frames are too many, the maximum is "
                f"{MAX_FPS * self.max_seconds:.0f} in all: use shorter audio, or fewer people"
            )

    def _check_file(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): upload it again") from error
        if size > self.max_megabytes * _MEGABYTE:
            raise InputError(f"{path} has {size / _MEGABYTE:.0f} MB: the maximum is {self.max_megabytes:g} MB")
        for width, height in check_container(path):  # before the first frame is decoded
            self._check_side(path, width, height)

    def _check_side(self, path: Path, width: int, height: int) -> None:
        if max(width, height) > self.max_side:
            raise InputError(
                f"{path} has {width}x{height} pixels: scale it to at most {self.max_side} pixels on the longer side"
            )


def check_container(path: Path) -> list[tuple[int, int]]:
    """Reject files whose container could make ffmpeg open other files or addresses.

    ffmpeg detects the container from content and name, so a later call detects the same one.

    Returns:
        Width and height of every video stream.

    Raises:
        InputError: the file is empty or its container is not in `CONTAINERS`.
    """
    try:
        streams = probe_streams(path, CONTAINERS).get("streams", [])
    except ToolFailedError as error:
        raise InputError(f"{path} is not a video or sound file that can be used: convert it to mp4 or wav") from error
    return [(stream["width"], stream["height"]) for stream in streams if {"width", "height"} <= stream.keys()]


def decoded_seconds(path: Path, max_seconds: float) -> float:
    """Return the seconds of audio that decoding yields, at most `max_seconds`.

    Raises:
        InputError: the file cannot be decoded.
    """
    try:
        return audio_samples.decoded_seconds(path, max_seconds)
    except ToolFailedError as error:
        raise InputError(f"{path} cannot be decoded: convert it to wav, or use another file") from error
