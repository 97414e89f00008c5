"""Step 8: clips that look bad go (hyperIQA, the mean of three frames). What passes is ready for training."""

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
from preprocess.clip import Clip
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict


@dataclass(frozen=True)
class QualityConfig:
    """Settings of step 8.

    Attributes:
        min_quality: clips below this hyperIQA score (about 0 to 100) are rejected.
        checkpoint: hyperIQA's weights, relative to the repository.
    """

    min_quality: float = 40.0
    checkpoint: str = PUBLISHED_WEIGHTS


@dataclass(frozen=True)
class QualityStep:
    """Rejects what looks bad; a clip that passes goes on as it is. Adds the fact `quality`."""

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
        """hyperIQA's file; raises CheckpointError where it is missing."""
        return [locate(self.config.checkpoint)]

    def load(self, device: torch.device) -> Process:
        """The function of one clip; raises CheckpointError where the weights are damaged or of another network."""
        scorer = QualityScorer(load_hyperiqa(locate(self.config.checkpoint), device))
        min_quality = self.config.min_quality

        def process(clip: Clip, work: Path) -> Verdict:
            quality = scorer.score(read_judged_frames(clip.path))
            facts = {"quality": quality}
            if quality < min_quality:
                return Rejected("low_quality", f"hyperIQA {quality:.1f}, wanted {min_quality:g}", facts)
            return Done((Output(facts=facts),))

        return process


def read_judged_frames(path: Path) -> NDArray[np.uint8]:
    """First, middle and last frame (3, h, w, 3) of a clip at 25 fps, holding no more than these.

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
    assert last is not None  # the reader raises where there is no frame
    return np.stack([kept[0], kept[-1], last])
