"""Step 4: segments of 5 to 10 s, exact to the frame.

The rule: a clip becomes the fewest segments that are none longer than `max_s`, as equal as whole frames allow (their
lengths differ by a frame at most, the longer first), so nothing is left over. A clip shorter than `min_s` is rejected.
Where the fewest segments would be shorter than `min_s` (possible only if `max_s` is less than about twice `min_s`), as
many segments of `max_s` as fit are cut from the beginning and the remainder is dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from latentsync.errors import ConfigError
from preprocess.clip import Clip
from preprocess.cut import ClipCutter
from preprocess.encoding import FPS, count_frames
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict


@dataclass(frozen=True)
class SegmentsConfig:
    """How long a segment is.

    Attributes:
        min_s: seconds; shorter clips are rejected.
        max_s: seconds; longer clips are cut.
        crf: of the cut pieces, 0 (lossless) to 51.
    """

    min_s: float = 5.0
    max_s: float = 10.0
    crf: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.min_s <= self.max_s or self.max_s * FPS < 1 or not 0 <= self.crf <= 51:
            raise ConfigError("segments: 0 < min_s <= max_s, max_s at least a frame (0.04), crf 0 to 51")

    @property
    def min_frames(self) -> int:
        """The shortest segment in frames."""
        return math.ceil(self.min_s * FPS - 1e-6)

    @property
    def max_frames(self) -> int:
        """The longest segment in frames."""
        return max(self.min_frames, math.floor(self.max_s * FPS + 1e-6))


@dataclass(frozen=True)
class SegmentsStep:
    """Cuts a shot into segments.

    Facts: first_frame (int, in the resampled video), num_frames (int).
    """

    config: SegmentsConfig = field(default_factory=SegmentsConfig)

    number: ClassVar[int] = 4
    name: ClassVar[str] = "segments"
    folder: ClassVar[str | None] = "segmented"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {"too_short": "the shot is shorter than min_s"}
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        """None."""
        return []

    def load(self, device: torch.device) -> Process:
        """Nothing to load."""
        return self._process

    def _process(self, clip: Clip, work: Path) -> Verdict:
        shot_first, shot_frames = clip.facts.get("first_frame", 0), count_frames(clip.path)
        if not isinstance(shot_first, int):
            raise TypeError(f"the fact first_frame is a whole number, not {shot_first!r}")
        lengths = segment_lengths(shot_frames, self.config.min_frames, self.config.max_frames)
        if not lengths:
            return Rejected("too_short", f"{shot_frames / FPS:.2f} s, at least {self.config.min_s:g} s are needed")
        if lengths == [shot_frames]:
            return Done((Output(facts={"first_frame": shot_first, "num_frames": shot_frames}),))
        cutter = ClipCutter(clip.path, self.config.crf)
        outputs, first = [], 0
        for number, length in enumerate(lengths):
            suffix = f"_seg{number:03d}"
            cutter.cut(first, length, work / f"{suffix}.mp4")
            facts = {"first_frame": shot_first + first, "num_frames": length}
            outputs.append(Output(work / f"{suffix}.mp4", suffix, facts))
            first += length
        return Done(tuple(outputs))


def segment_lengths(num_frames: int, min_frames: int, max_frames: int) -> list[int]:
    """Lengths in frames of the segments of a clip, one after the other from its first frame (see the module's rule)."""
    if num_frames < min_frames:
        return []
    fewest = math.ceil(num_frames / max_frames)
    if num_frames // fewest < min_frames:
        return [max_frames] * (num_frames // max_frames)
    return [num_frames // fewest + (number < num_frames % fewest) for number in range(fewest)]
