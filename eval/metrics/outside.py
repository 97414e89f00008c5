"""Change outside the generated region of whole frames, in grey levels (0 to 255); ideally about 0."""

import sys
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from eval.face_clips import FaceClips
from eval.face_geometry import FRAMES_PER_SECOND
from eval.metrics.command import run_command
from eval.metrics.metric import FunctionMetric, Quantity
from eval.pairs import Pair
from eval.source_order import repeat_of
from latentsync.errors import NotMeasured
from latentsync.face.mask import keep_mask
from latentsync.media.repeated_reader import Repeat, RepeatedReader

_MARGIN_SHARE = 0.04
"""Margin around the generated region, as a share of the crop: codecs smear, and detectors are off by 1 or 2 pixels."""


def generated_pixels(matrix: np.ndarray, resolution: int, width: int, height: int) -> np.ndarray:
    """Return (height, width) bool, True for frame pixels in the generated region or its margin.

    Args:
        matrix: (2, 3) from frame to crop.
        resolution: side of the crop.
        width, height: size of the frame.
    """
    generated = 1 - keep_mask(resolution).numpy()
    reach = 2 * round(_MARGIN_SHARE * resolution) + 1
    near = cv2.dilate(generated, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # the matrix maps from frame to crop
    return cv2.warpAffine(near, np.asarray(matrix, np.float64), (width, height), flags=flags) > 0


def outside_changes(pair: Pair, clips: FaceClips) -> Iterator[float]:
    """Yield the mean absolute change outside the generated region per frame; NaN if the region fills the frame.

    Raises:
        NotMeasured: result and source differ in size.
    """
    clip = clips.of_result(pair)
    num_source = len(clips.geometry(pair.source))
    rate, repeat = Fraction(FRAMES_PER_SECOND), repeat_of(pair) or Repeat.FREEZE
    with (
        clips.frames(pair.result) as results,
        RepeatedReader(pair.source, rate, num_source, len(clip), repeat=repeat) as sources,
    ):
        for matrix, valid, result, (_, source) in zip(clip.matrices, clip.valid, results, sources, strict=False):
            if result.shape != source.shape:
                sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (result, source)]
                raise NotMeasured(f"the result is {sizes[0]} and the source {sizes[1]} pixels")
            change = cv2.absdiff(result, source)
            if valid:
                height, width = result.shape[:2]
                change = change[~generated_pixels(matrix, clips.resolution, width, height)]
            yield float(change.mean()) if change.size else np.nan


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    changes = np.fromiter(outside_changes(pair, clips), dtype=np.float64)
    if np.isnan(changes).all():
        raise NotMeasured("the generated region fills every frame")
    return {"outside_change": float(np.nanmean(changes)), "outside_worst": float(np.nanmax(changes))}


METRIC = FunctionMetric(
    name="outside",
    quantities=(
        Quantity("outside_change", "grey levels", False, "mean absolute change outside the mask", 0.0, ("source",)),
        Quantity("outside_worst", "grey levels", False, "the same of the worst frame", 0.0, ("source",)),
    ),
    description="change of the frames outside the generated region",
    protocol=(
        "No published value is comparable. Whole frames are compared with the source, without the fixed mask dilated "
        "by 4 % of the crop. The lossy encoding alone gives between some tenths and one grey level; the control rows "
        "show it: the unchanged source gives 0, its re-encoded copy gives this value."
    ),
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
