"""Held-out dubs: a synthetic person generated with the speech of the next one, and that person rendered saying it."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from demo.synthetic.clip import FPS
from demo.synthetic.clip_set import Clip, DatasetConfig, clip_folder, make_dataset
from demo.synthetic.speech import SAMPLE_RATE
from eval.demo_weights.dubs import rendered_truth
from eval.demo_weights.settings import clip_key
from latentsync.storage.content_cache import cache_key

HELD_OUT_SEED = 15
"""Neither the trainings (seed 0) nor the choice of weights (seed 1) used the people and sentences of this seed."""


@dataclass(frozen=True)
class Dub:
    """A clip generated with the speech of another, the driver.

    Attributes:
        clip, driver: clips of equal length.
        truth_folder: folder of rendered ground truth.
    """

    clip: Clip
    driver: Clip
    truth_folder: Path

    @cached_property
    def key(self) -> str:
        """Key of the content of both clips."""
        return cache_key(clip_key(self.clip), clip_key(self.driver))

    @property
    def speech(self) -> np.ndarray:
        """Samples (s,) in [-1, 1] at 16 kHz, as long as the crops."""
        return self.driver.speech()[: len(self.clip.crops) * SAMPLE_RATE // FPS]

    @property
    def truth(self) -> np.ndarray:
        """Crops (f, R, R, 3) uint8 of the clip's person rendered with the driver's speech; stored on disk."""
        return rendered_truth(self.clip, self.driver, len(self.clip.crops), self.truth_folder)


def make_dubs(folder: Path, num_dubs: int, num_frames: int, resolution: int, num_processes: int = 1) -> list[Dub]:
    """Render the missing clips of the dubs; dub k does not depend on the number of dubs.

    Args:
        folder: clips and ground truth of each length and resolution get their own folders in it.
        num_dubs: number of dubs, from 1.
        num_frames: frames of each.
        resolution: side of the crops in pixels.
        num_processes: processes that render.

    Raises:
        ToolError: espeak-ng or ffmpeg is missing or fails.
    """
    out = folder / f"{num_frames} frames of {resolution} px"
    config = DatasetConfig(out / "clips", num_dubs + 1, num_frames / FPS, HELD_OUT_SEED, resolution)
    make_dataset(config, num_processes)
    clips = [Clip(clip_folder(config, index)) for index in range(num_dubs + 1)]
    return [Dub(clip, driver, out / "truth") for clip, driver in pairwise(clips)]
