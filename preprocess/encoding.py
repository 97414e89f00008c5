"""How every clip between two steps is written: 25 fps H.264 and lossless 16 kHz mono sound, the same bits every time.

The sound is ALAC: AAC would begin with 1024 samples of priming, and lose a little at every step.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.errors import ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.probe import probe_streams

FPS = 25
"""Frames per second of every clip."""

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
"""A clip of n frames has exactly 640 n samples of sound."""


def check_clip(path: Path, num_frames: int) -> None:
    """ToolError unless the file has so many frames at i / 25 s and 640 samples for each, both from time 0.

    It asks the file's index, which ffmpeg wrote from the very packets; nothing is decoded.
    """
    streams = {stream["codec_type"]: stream for stream in probe_streams(path).get("streams", [])}
    video, sound = streams.get("video", {}), streams.get("audio", {})
    found = (int(video.get("nb_frames", 0)), _num_samples(sound))
    is_regular = all(video.get(rate) == f"{FPS}/1" for rate in ("avg_frame_rate", "r_frame_rate"))
    begins_at_0 = video.get("start_pts") == 0 and sound.get("start_pts") == 0
    if found != (num_frames, num_frames * SAMPLES_PER_FRAME) or not is_regular or not begins_at_0:
        raise ToolError(
            f"{path.name} was not written as asked: {found[0]} of {num_frames} frames at "
            f"{video.get('avg_frame_rate')} fps, {found[1]} samples, from {video.get('start_pts')} and "
            f"{sound.get('start_pts')}"
        )


def count_frames(path: Path) -> int:
    """How many frames the index of a clip (mp4) lists; 0 where it has no picture."""
    streams = probe_streams(path).get("streams", [])
    video = next((stream for stream in streams if stream["codec_type"] == "video"), {})
    return int(video.get("nb_frames", 0))


def _num_samples(sound: Mapping[str, Any]) -> int:
    length = int(sound.get("duration_ts", 0)) * Fraction(sound.get("time_base", "1/1")) * SAMPLE_RATE
    return int(length) if length.denominator == 1 else -1
