"""Flicker: how much the mouth region jumps back and forth from frame to frame, in grey levels (0-255)."""

import sys

import numpy as np
import torch

from eval.face_clips import FaceClip, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.mouth_motion import mouth_motion
from eval.not_measured import NotMeasured


def flicker(clip: FaceClip) -> float:
    """Mean absolute second difference over time of the mouth region, in grey levels.

    Raises NotMeasured under three successive frames with a face.
    """
    motion = mouth_motion(clip, order=2)
    if np.isnan(motion).all():
        raise NotMeasured("flicker needs three successive frames with the face")
    return float(np.nanmean(motion))


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    truth = sample.source if sample.reference is None else sample.reference
    ours = flicker(clips.crops(sample.result, sample.source))
    theirs = flicker(clips.crops(truth, sample.source))
    ratio = {"flicker_ratio": ours / theirs} if theirs > 0 else {}
    return {"flicker": ours} | ratio


class FlickerMetric(Metric):
    """Compares with the reference, else with the source."""

    name = "flicker"
    figures = (
        Figure("flicker", "grey levels", None, "mean absolute second difference over time of the mouth region"),
        Figure("flicker_ratio", "", None, "the same over that of the reference, else of the source", 1.0, ("source",)),
    )
    description = "temporal jitter of the mouth region"
    protocol = (
        "Nothing published is comparable. A mouth that does not move has less flicker than a speaking one, so the "
        "ratio to the reference (else the source) should be near 1, not small."
    )

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded; it runs on the CPU."""
        return _judge


METRIC = FlickerMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
