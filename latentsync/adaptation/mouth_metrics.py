"""Measure generated mouths of one person: likeness to the footage, and how they follow the speech."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from latentsync.adaptation.mouth_matching import Mouths
from latentsync.judges.crop_measures import (
    correlation,
    edge_step,
    feather_reach,
    flicker,
    leak,
    mouth_psnr_db,
    mouth_region,
    sharpness,
)


@dataclass(frozen=True)
class MouthMetrics:
    """Metrics of one generated video, beside the footage that it was generated from.

    Attributes:
        opening: correlation of the opening with that predicted from the driving speech.
        width: the same for the width.
        sharpness: mean gradient in the mouth region, relative to the footage.
        flicker: mean second difference over time in the mouth region, relative to the footage.
        edge: colour step across the edge of the mask, relative to the footage.
        psnr_db, ssim: mouth region against the footage; only if both say the same.
        leak: share of the opening that comes from that of the footage, see `crop_measures.leak`; only if both say
            different things.
    """

    opening: float
    width: float
    sharpness: float
    flicker: float
    edge: float
    psnr_db: float | None = None
    ssim: float | None = None
    leak: float | None = None

    def values(self) -> dict[str, float]:
        """Return the known metrics by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure_mouth(
    generated: NDArray[np.uint8],
    footage: NDArray[np.uint8],
    mouths: tuple[Mouths, Mouths],
    expected: Mouths,
    says_the_same: bool,
) -> MouthMetrics:
    """Return the metrics of generated crops (f, R, R, 3).

    Args:
        generated, footage: crops, frame by frame.
        mouths: (f, 2) mouths that the reader sees in both.
        expected: (f, 2) mouth predicted from the driving speech.
        says_the_same: the driving speech is that of the footage.
    """
    (opening, width), source = mouths[0].T, mouths[1][:, 0]
    reach = feather_reach(generated.shape[1])
    return MouthMetrics(
        opening=correlation(opening, expected[:, 0]),
        width=correlation(width, expected[:, 1]),
        sharpness=sharpness(generated) / sharpness(footage),
        flicker=flicker(generated) / flicker(footage),
        edge=edge_step(generated, reach) / edge_step(footage, reach),
        psnr_db=mouth_psnr_db(generated, footage) if says_the_same else None,
        ssim=mouth_ssim(generated, footage) if says_the_same else None,
        leak=None if says_the_same else leak(opening, expected[:, 0], source),
    )


def mouth_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the mean structural similarity of the mouth regions of two stacks (f, R, R, 3)."""
    pairs = zip(mouth_region(first), mouth_region(second), strict=True)
    return float(np.mean([structural_similarity(one, other, channel_axis=-1) for one, other in pairs]))


def mean_metrics(metrics: list[MouthMetrics]) -> dict[str, float]:
    """Return the mean of every metric over the videos that have it."""
    names = {name: None for one in metrics for name in one.values()}
    return {name: float(np.mean([one.values()[name] for one in metrics if name in one.values()])) for name in names}
