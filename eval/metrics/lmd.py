"""LMD: landmark distance of the mouth from the reference, in percent of the distance between the outer eye corners."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.face_geometry import FaceGeometry
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from latentsync.face.landmarks68 import (
    LandmarkNetworks,
    find_box_weights,
    find_landmark_weights,
    load_landmark_networks,
    missing_weights,
)
from latentsync.media.pingpong import source_index
from latentsync.weights import CHECKPOINTS

STRIDE_FRAMES = 5
"""One frame in so many is looked at."""

_MOUTH = slice(48, 68)
_OUTER_EYE_CORNERS = (36, 45)
_FARTHEST = 0.5
"""A detection is the followed face where its anchors lie within this share of its box's side."""


def mouth_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean distance of the 20 mouth points in percent of the distance between the reference's outer eye corners.

    Both mouths are first put on their common centre, so that the shape counts and not the place.

    Args:
        ours, theirs: (68, 2) landmarks in pixels of the result and of the reference.
    """
    first, second = (points[_MOUTH] - points[_MOUTH].mean(axis=0) for points in (ours, theirs))
    eyes = np.linalg.norm(theirs[_OUTER_EYE_CORNERS[1]] - theirs[_OUTER_EYE_CORNERS[0]])
    return float(100 * np.linalg.norm(first - second, axis=1).mean() / max(eyes, 1e-6))


def followed_boxes(geometry: FaceGeometry) -> np.ndarray:
    """(n, 5) box and score of the followed face in every frame; NaN where it was not detected."""
    boxes = np.full((len(geometry), 5), np.nan)
    places = geometry.anchors.mean(axis=1)
    for row in geometry.rows:
        frame, box = int(row[0]), row[1:5]
        away = np.linalg.norm(row[6:].reshape(3, 2).mean(axis=0) - places[frame])
        if np.isnan(boxes[frame, 0]) and away < _FARTHEST * max(box[2] - box[0], box[3] - box[1]):
            boxes[frame] = row[1:6]
    return boxes


@dataclass(frozen=True)
class LmdMetric(Metric):
    """Needs a reference; `auxiliary` is the folder with face-alignment's weights."""

    auxiliary: Path = CHECKPOINTS / "auxiliary"

    name = "lmd"
    figures = (
        Figure("lmd_mouth", "% of eye distance", False, "landmark distance of the mouth's shape", 0.0, ("reference",)),
    )
    description = "landmark distance of the mouth (LMD)"
    protocol = (
        "Chen et al. (2018): mean distance of mouth landmarks after aligning their centres, in pixels of some crop, "
        "which papers seldom state. Ours: face-alignment's 68 points in the whole frame, points 48 to 67, divided by "
        "the distance between the reference's outer eye corners; every fifth frame, boxes as found in the source."
    )

    def weights(self) -> list[Path]:
        """face-alignment's two files, in the folder or in torch's own cache."""
        found = [find_box_weights(self.auxiliary), find_landmark_weights(self.auxiliary)]
        return [path for path in found if path] + [self.auxiliary / name for name in missing_weights(self.auxiliary)]

    def load(self, device: torch.device) -> Judge:
        """The networks; CheckpointError where they cannot be read."""
        return lmd_judge(load_landmark_networks(device, self.auxiliary))


def lmd_judge(networks: LandmarkNetworks) -> Judge:
    """The judge that looks through these networks."""

    @torch.inference_mode()
    def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
        reference = sample.required_reference()
        boxes = followed_boxes(clips.geometry(sample.source))
        distances = []
        with clips.frames(sample.result) as ours, clips.frames(reference) as theirs:
            for number, (first, second) in enumerate(zip(ours, theirs, strict=False)):
                box = boxes[source_index(number, len(boxes))]
                if number % STRIDE_FRAMES == 0 and np.isfinite(box).all():
                    points = [networks.landmarks(frame, box[None])[0] for frame in (first, second)]
                    distances.append(mouth_distance(*points))
        if not distances:
            raise NotMeasured(f"no face was found in {sample.source.name}")
        return {"lmd_mouth": float(np.mean(distances))}

    return judge


METRIC = LmdMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
