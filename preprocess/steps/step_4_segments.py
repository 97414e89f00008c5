"""Step 4: cut shots into segments of 5 to 10 s, exact to the frame.

A shot is cut into the smallest number of segments of at most `max_s`, of equal length up to one frame (longer ones
first), so that no frame is lost. A shot shorter than `min_s` is rejected. If the segments would be shorter than
`min_s`, which requires a `max_s` below about twice `min_s`, segments of `max_s` are cut from the start and the rest is
dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

from latentsync.errors import ConfigError
from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from preprocess.steps.clip_files import FPS, Part, count_frames, cut_parts


@dataclass(frozen=True)
class SegmentsConfig:
    """Settings of step 4.

    Attributes:
        min_s: minimum length in seconds; shorter shots are rejected.
        max_s: maximum length in seconds; longer shots are cut.
        crf: x264's constant rate factor of the segments, 0 (lossless) to 51.
    """

    min_s: float = 5.0
    max_s: float = 10.0
    crf: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.min_s <= self.max_s or self.max_s * FPS < 1 or not 0 <= self.crf <= 51:
            raise ConfigError("segments: use 0 < min_s <= max_s, max_s of a frame (0.04) or more, crf 0 to 51")

    @property
    def min_frames(self) -> int:
        """Minimum length in frames."""
        return math.ceil(self.min_s * FPS - 1e-6)

    @property
    def max_frames(self) -> int:
        """Maximum length in frames."""
        return max(self.min_frames, math.floor(self.max_s * FPS + 1e-6))


@dataclass(frozen=True)
class SegmentsStep(CpuStep):
    """Cuts a shot into segments.

    Facts: first_frame (int, in the resampled video), num_frames (int).
    """

    config: SegmentsConfig = field(default_factory=SegmentsConfig)

    number: ClassVar[int] = 4
    name: ClassVar[str] = "segments"
    folder: ClassVar[str | None] = "segmented"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {"too_short": "the shot is shorter than min_s"}

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the segments of one shot, written into `work`. A shot of one segment is passed on unchanged."""
        shot_first, shot_frames = clip.facts.get("first_frame", 0), count_frames(clip.path)
        if not isinstance(shot_first, int):
            raise TypeError(f"the fact first_frame must be an integer, not {shot_first!r}")
        lengths = segment_lengths(shot_frames, self.config.min_frames, self.config.max_frames)
        if not lengths:
            return Rejected("too_short", f"{shot_frames / FPS:.2f} s, at least {self.config.min_s:g} s are needed")
        if lengths == [shot_frames]:
            return Done((Output(facts={"first_frame": shot_first, "num_frames": shot_frames}),))
        starts = accumulate(lengths[:-1], initial=0)
        segments = [Part(index, *span) for index, span in enumerate(zip(starts, lengths, strict=True))]
        return cut_parts(clip.path, segments, "seg", self.config.crf, work, shot_first)


def segment_lengths(num_frames: int, min_frames: int, max_frames: int) -> list[int]:
    """Return the lengths in frames of consecutive segments from a shot's first frame (rule: see the module)."""
    if num_frames < min_frames:
        return []
    num_segments = math.ceil(num_frames / max_frames)
    if num_frames // num_segments < min_frames:
        return [max_frames] * (num_frames // max_frames)
    return [num_frames // num_segments + (index < num_frames % num_segments) for index in range(num_segments)]
