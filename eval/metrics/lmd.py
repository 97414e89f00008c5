"""LMD: landmark distance of the mouth from the reference, in percent of the distance between the outer eye corners."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.face_geometry import FaceGeometry
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, Metric, Quantity
from eval.pairs import Pair
from eval.source_order import repeat_of, shown_frame
from latentsync.errors import NotMeasured
from latentsync.face.landmarks68 import (
    LandmarkNetworks,
    find_box_weights,
    find_landmark_weights,
    load_landmark_networks,
    missing_weights,
)
from latentsync.weights import CHECKPOINTS

STRIDE_FRAMES = 5
"""Only every fifth frame is measured."""

_MOUTH = slice(48, 68)
_OUTER_EYE_CORNERS = (36, 45)
_MAX_ANCHOR_DISTANCE = 0.5
"""A detection is the tracked face if its anchors are within this distance, as a share of the longer box side."""


def mouth_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the mean distance of the 20 mouth points in percent of the reference's outer eye corner distance.

    Both mouths are centred first, so that only the shape counts.

    Args:
        ours, theirs: (68, 2) landmarks in pixels of the result and of the reference.
    """
    first, second = (points[_MOUTH] - points[_MOUTH].mean(axis=0) for points in (ours, theirs))
    eyes = np.linalg.norm(theirs[_OUTER_EYE_CORNERS[1]] - theirs[_OUTER_EYE_CORNERS[0]])
    return float(100 * np.linalg.norm(first - second, axis=1).mean() / max(eyes, 1e-6))


def tracked_boxes(geometry: FaceGeometry) -> np.ndarray:
    """Return (n, 5) box and score of the tracked face in every frame; NaN in frames where it was not detected."""
    boxes = np.full((len(geometry), 5), np.nan)
    centres = geometry.anchors.mean(axis=1)
    for row in geometry.rows:
        frame, box = int(row[0]), row[1:5]
        distance = np.linalg.norm(row[6:].reshape(3, 2).mean(axis=0) - centres[frame])
        if np.isnan(boxes[frame, 0]) and distance < _MAX_ANCHOR_DISTANCE * max(box[2] - box[0], box[3] - box[1]):
            boxes[frame] = row[1:6]
    return boxes


@dataclass(frozen=True)
class LmdMetric(Metric):
    """Requires a reference; `auxiliary` is the folder of face-alignment's weights."""

    auxiliary: Path = CHECKPOINTS / "auxiliary"

    name = "lmd"
    quantities = (
        Quantity(
            "lmd_mouth", "% of eye distance", False, "landmark distance of the mouth's shape", 0.0, ("reference",)
        ),
    )
    description = "landmark distance of the mouth (LMD)"
    protocol = (
        "Chen et al. (2018): mean distance of mouth landmarks after aligning their centres, in pixels of some crop, "
        "which papers seldom state. Ours: face-alignment's 68 points in the whole frame, points 48 to 67, divided by "
        "the distance between the reference's outer eye corners; every fifth frame, boxes as found in the source."
    )

    def weights(self) -> list[Path]:
        """Return face-alignment's two files, in the folder or in torch's own cache."""
        found = [find_box_weights(self.auxiliary), find_landmark_weights(self.auxiliary)]
        return [path for path in found if path] + [self.auxiliary / name for name in missing_weights(self.auxiliary)]

    def load(self, device: torch.device) -> LoadedMetric:
        """Load the networks; raise CheckpointError if they cannot be read."""
        return lmd_with(load_landmark_networks(device, self.auxiliary))


def lmd_with(networks: LandmarkNetworks) -> LoadedMetric:
    """Return the metric computed with these networks."""

    @torch.inference_mode()
    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        reference = pair.required_reference()
        boxes = tracked_boxes(clips.geometry(pair.source))
        repeat, distances = repeat_of(pair), []
        with clips.frames(pair.result) as ours, clips.frames(reference) as theirs:
            for number, (first, second) in enumerate(zip(ours, theirs, strict=False)):
                box = boxes[shown_frame(number, len(boxes), repeat)]
                if number % STRIDE_FRAMES == 0 and np.isfinite(box).all():
                    points = [networks.landmarks(frame, box[None])[0] for frame in (first, second)]
                    distances.append(mouth_distance(*points))
        if not distances:
            raise NotMeasured(f"no face was found in {pair.source.name}")
        return {"lmd_mouth": float(np.mean(distances))}

    return measure


METRIC = LmdMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
