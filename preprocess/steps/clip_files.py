"""Files of clips between two steps: their format, its check, and cuts that are exact to the frame.

A clip is an mp4 file with H.264 video at 25 fps and lossless 16 kHz mono audio; writing it twice gives equal bytes. The
audio is ALAC, because AAC would start with 1024 samples of priming and lose quality at every step.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from latentsync.errors import ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.probe import probe_streams, probe_video
from latentsync.media.transcode import cut_clip
from preprocess.step import Done, Output

FPS = 25
"""Frames per second of every clip."""

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
"""A clip of n frames has exactly 640 n audio samples."""


def check_clip(path: Path, num_frames: int) -> None:
    """Check that a clip has `num_frames` frames at i / 25 s and 640 samples per frame, both from time 0.

    Only the file's index is read, which ffmpeg writes from the encoded packets; nothing is decoded.

    Raises:
        ToolError: the clip differs.
    """
    streams = {stream["codec_type"]: stream for stream in probe_streams(path).get("streams", [])}
    video, audio = streams.get("video", {}), streams.get("audio", {})
    found = (int(video.get("nb_frames", 0)), _num_samples(audio))
    is_regular = all(video.get(rate) == f"{FPS}/1" for rate in ("avg_frame_rate", "r_frame_rate"))
    starts_at_0 = video.get("start_pts") == 0 and audio.get("start_pts") == 0
    if found != (num_frames, num_frames * SAMPLES_PER_FRAME) or not is_regular or not starts_at_0:
        raise ToolError(
            f"{path.name} was not written correctly: {found[0]} of {num_frames} frames at "
            f"{video.get('avg_frame_rate')} fps, {found[1]} samples, from {video.get('start_pts')} and "
            f"{audio.get('start_pts')}"
        )


def count_frames(path: Path) -> int:
    """Return the number of frames in the index of a clip; 0 if it has no video."""
    streams = probe_streams(path).get("streams", [])
    video = next((stream for stream in streams if stream["codec_type"] == "video"), {})
    return int(video.get("nb_frames", 0))


def _num_samples(audio: Mapping[str, Any]) -> int:
    """Return the number of audio samples, or -1 if the duration is no whole number of samples."""
    length = int(audio.get("duration_ts", 0)) * Fraction(audio.get("time_base", "1/1")) * SAMPLE_RATE
    return int(length) if length.denominator == 1 else -1


class ClipCutter:
    """Cuts parts out of one clip, exact to the frame and the sample, wherever its key frames are.

    Every cut seeks, so its cost depends on the length of the part, and memory holds a few frames.

    Args:
        source: a clip as step 2 writes it.
        crf: x264's constant rate factor of the parts, 0 (lossless) to 51.

    Raises:
        InputError: the clip cannot be read.
    """

    def __init__(self, source: Path, crf: int) -> None:
        self._info = probe_video(source)
        self._crf = crf

    def cut(self, first_frame: int, num_frames: int, target: Path, first_audio_frame: int | None = None) -> None:
        """Write video frames [first_frame, first_frame + num_frames) and as much audio; always the same bytes.

        Args:
            first_frame, num_frames: video frames of the part.
            target: file of the part.
            first_audio_frame: the frame whose audio starts the part, at most a second away; None: `first_frame`.

        Raises:
            ToolError: ffmpeg failed, or the clip ends before the part does.
        """
        first_sample = SAMPLES_PER_FRAME * (first_frame if first_audio_frame is None else first_audio_frame)
        frames = range(first_frame, first_frame + num_frames)
        samples = range(first_sample, first_sample + num_frames * SAMPLES_PER_FRAME)
        cut_clip(self._info, target, frames, samples, fps=FPS, crf=self._crf)
        check_clip(target, num_frames)


class Part(NamedTuple):
    """Part of a clip: its index in file names, its first frame and its number of frames."""

    index: int
    first_frame: int
    num_frames: int


def cut_parts(source: Path, parts: Iterable[Part], label: str, crf: int, work: Path, frame_offset: int = 0) -> Done:
    """Cut parts of a clip into files of their own, with the facts `first_frame` and `num_frames`.

    Args:
        source: the clip.
        parts: the parts to cut.
        label: name of a part, such as ``shot``; part 3 gets the suffix ``_shot003``.
        crf: x264's constant rate factor of the parts, 0 (lossless) to 51.
        work: folder for the files.
        frame_offset: added to the fact `first_frame`; first frame of the clip in the resampled video.
    """
    cutter = ClipCutter(source, crf)
    outputs = []
    for part in parts:
        suffix = f"_{label}{part.index:03d}"
        target = work / f"{suffix}.mp4"
        cutter.cut(part.first_frame, part.num_frames, target)
        facts = {"first_frame": frame_offset + part.first_frame, "num_frames": part.num_frames}
        outputs.append(Output(target, suffix, facts))
    return Done(tuple(outputs))
