"""What changed outside the painted region of whole frames, in grey levels (0-255): about zero is right."""

import sys
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.face_geometry import FRAMES_PER_SECOND
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from latentsync.face.mask import keep_mask
from latentsync.media.pingpong import PingPongReader

_MARGIN_SHARE = 0.04
"""The painted region is made wider by this share of the crop: codecs smear, and a detector is off by a pixel or two."""


def painted_pixels(matrix: np.ndarray, resolution: int, width: int, height: int) -> np.ndarray:
    """(height, width) bool: frame pixels in the painted region or near it.

    Args:
        matrix: (2, 3) frame to crop.
        resolution: side of the crop.
        width, height: of the frame.
    """
    painted = 1 - keep_mask(resolution).numpy()
    reach = 2 * round(_MARGIN_SHARE * resolution) + 1
    near = cv2.dilate(painted, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # the matrix leads from the frame to the crop
    return cv2.warpAffine(near, np.asarray(matrix, np.float64), (width, height), flags=flags) > 0


def outside_changes(sample: Sample, clips: FaceClips) -> Iterator[float]:
    """Mean absolute change, in grey levels, outside the painted region of every frame; NaN where all of it is painted.

    Raises NotMeasured where result and source differ in size.
    """
    clip = clips.crops(sample.result, sample.source)
    num_source = len(clips.geometry(sample.source))
    rate = Fraction(FRAMES_PER_SECOND)
    with (
        clips.frames(sample.result) as results,
        PingPongReader(sample.source, rate, num_source, len(clip)) as sources,
    ):
        for matrix, valid, result, (_, source) in zip(clip.matrices, clip.valid, results, sources, strict=False):
            if result.shape != source.shape:
                sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (result, source)]
                raise NotMeasured(f"the result is {sizes[0]} and the source {sizes[1]} pixels")
            change = cv2.absdiff(result, source)
            if valid:
                height, width = result.shape[:2]
                change = change[~painted_pixels(matrix, clips.resolution, width, height)]
            yield float(change.mean()) if change.size else np.nan


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    changes = np.fromiter(outside_changes(sample, clips), dtype=np.float64)
    if np.isnan(changes).all():
        raise NotMeasured("nothing of the frame lies outside the painted region")
    return {"outside_change": float(np.nanmean(changes)), "outside_worst": float(np.nanmax(changes))}


class OutsideMetric(Metric):
    """Compares with the source."""

    name = "outside"
    figures = (
        Figure("outside_change", "grey levels", False, "mean absolute change outside the mask", 0.0, ("source",)),
        Figure("outside_worst", "grey levels", False, "the same of the worst frame", 0.0, ("source",)),
    )
    description = "change of the picture outside the painted region"
    protocol = (
        "Nothing published compares. Whole frames against the source's; the fixed mask, made wider by 4 % of the crop, "
        "is left out. The result's lossy encode alone gives some tenths of a grey level to one, as the row of the "
        "unchanged source (not encoded anew: 0) and a re-encode of it show."
    )

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded; it runs on the CPU."""
        return _judge


METRIC = OutsideMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
