"""Step 8: reject clips of low image quality (mean hyperIQA score of three frames). The others are training clips."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.judges.hyperiqa import PUBLISHED_WEIGHTS, QualityScorer, load_hyperiqa, scored_frames
from latentsync.media.reader import VideoReader
from latentsync.weights import locate
from preprocess.step import Clip, Done, Output, ProcessClip, Rejected, StepResult


@dataclass(frozen=True)
class QualityConfig:
    """Settings of step 8.

    Attributes:
        min_quality: minimum hyperIQA score (about 0 to 100).
        checkpoint: hyperIQA's weights, relative to the repository.
    """

    min_quality: float = 40.0
    checkpoint: str = PUBLISHED_WEIGHTS


@dataclass(frozen=True)
class QualityStep:
    """Rejects clips below `min_quality`; the file of an accepted clip is unchanged. Facts: `quality`."""

    config: QualityConfig = field(default_factory=QualityConfig)

    number: ClassVar[int] = 8
    name: ClassVar[str] = "quality"
    folder: ClassVar[str | None] = "high_visual_quality"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "low_quality": "the mean hyperIQA score of its first, middle and last frame is below min_quality",
    }
    uses_device: ClassVar[bool] = True

    def weights(self) -> list[Path]:
        """Return hyperIQA's file; raise CheckpointError if it is missing."""
        return [locate(self.config.checkpoint)]

    def load(self, device: torch.device) -> ProcessClip:
        """Load hyperIQA and return the function of one clip.

        Raises:
            CheckpointError: the weights are damaged or of another network.
        """
        scorer = QualityScorer(load_hyperiqa(locate(self.config.checkpoint), device))
        min_quality = self.config.min_quality

        def process(clip: Clip, work: Path) -> StepResult:
            quality = scorer.score(read_three_frames(clip.path))
            facts = {"quality": quality}
            if quality < min_quality:
                return Rejected("low_quality", f"hyperIQA {quality:.1f}, at least {min_quality:g} needed", facts)
            return Done((Output(facts=facts),))

        return process


def read_three_frames(path: Path) -> NDArray[np.uint8]:
    """Return the first, middle and last frame (3, h, w, 3) of a clip at 25 fps; memory holds no other frame.

    Raises:
        InputError: no frame can be decoded.
    """
    with VideoReader(path) as reader:
        middle = scored_frames(reader.info.num_frames_estimate)[1]
        kept: list[NDArray[np.uint8]] = []
        last = None
        for index, last in enumerate(reader):
            if index in (0, middle):
                kept.append(last)
    assert last is not None  # the reader raises an error if it decodes no frame
    return np.stack([kept[0], kept[-1], last])
