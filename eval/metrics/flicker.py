"""Flicker: mean absolute second difference of the mouth region over time, in grey levels (0 to 255)."""

import sys

import numpy as np

from eval.face_clips import FaceClip, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import FunctionMetric, Quantity
from eval.pairs import Pair
from latentsync.errors import NotMeasured
from latentsync.judges.crop_measures import mouth_differences

_CHUNK_FRAMES = 250
"""Frames per chunk; bounds the memory of the float32 differences."""


def mouth_motion(clip: FaceClip, order: int) -> np.ndarray:
    """Return the mean absolute difference over time of the mouth region per frame, (n,) in grey levels (0 to 255).

    Entry i is computed from frames i - order ... i; it is NaN unless all of them are valid.

    Args:
        clip: the crops.
        order: 1 for change, 2 for the second difference (steady motion gives 0).
    """
    motion = np.full(len(clip), np.nan)
    for span in clip.valid_spans(order + 1):
        for start in range(span.start, span.stop - order, _CHUNK_FRAMES):
            stop = min(start + _CHUNK_FRAMES + order, span.stop)
            motion[start + order : stop] = mouth_differences(clip.crops[start:stop], order).mean(axis=(1, 2, 3))
    return motion


def flicker(clip: FaceClip) -> float:
    """Return the mean of `mouth_motion` of order 2; raise NotMeasured without three successive valid frames."""
    motion = mouth_motion(clip, order=2)
    if np.isnan(motion).all():
        raise NotMeasured("flicker needs three successive frames with the face")
    return float(np.nanmean(motion))


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    ours = flicker(clips.of_result(pair))
    theirs = flicker(clips.of_reference(pair))
    ratio = {"flicker_ratio": ours / theirs} if theirs > 0 else {}
    return {"flicker": ours} | ratio


METRIC = FunctionMetric(
    name="flicker",
    quantities=(
        Quantity("flicker", "grey levels", None, "mean absolute second difference over time of the mouth region"),
        Quantity(
            "flicker_ratio", "", None, "the same over that of the reference, else of the source", 1.0, ("source",)
        ),
    ),
    description="temporal jitter of the mouth region",
    protocol=(
        "No published value is comparable. A mouth that does not move has less flicker than a speaking one, so the "
        "ratio to the reference (else the source) should be near 1, not small."
    ),
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
