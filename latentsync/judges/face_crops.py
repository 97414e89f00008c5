"""Crops of one tracked face for a SyncNet, frame by frame: aligned, or as SyncNet-v2 was published with."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentsync.face.align import Aligner, crop_faces
from latentsync.face.face_plan import interpolated_anchors, smooth_anchors
from latentsync.face.tracker import Track
from latentsync.judges.face_tracks import MEDIAN_FRAMES, FaceTrack, crop_square, crop_squares

_PUBLISHED_FPS = 25
"""Frame rate of the published median filter."""


class FaceCrops(Protocol):
    """Interface of the crops of one face."""

    def crop(self, index: int, image: np.ndarray, factors: np.ndarray) -> Tensor:
        """Return the crop (3, R, R) in [-1, 1] of one frame; frames are given in order.

        Args:
            index: number of the frame, from the first one of the track.
            image: uint8 RGB (h, w, 3), possibly reduced.
            factors: (2,) from pixels of the source to those of the image.
        """
        ...


class AlignedCrops:
    """`FaceCrops` aligned by smoothed anchors, as those of the U-Net.

    Args:
        track: of the face.
        fps: frames per second of the source.
        resolution: side of the crops in pixels.
    """

    def __init__(self, track: Track, fps: float, resolution: int) -> None:
        self._anchors = smooth_anchors(interpolated_anchors(track), fps)
        self._aligner = Aligner(resolution)

    def crop(self, index: int, image: np.ndarray, factors: np.ndarray) -> Tensor:
        """See `FaceCrops`."""
        matrix = self._aligner.matrix((self._anchors[index] + 0.5) * factors - 0.5)
        return crop_faces([image], matrix[None], self._aligner.resolution)[0]


class SquareCrops:
    """`FaceCrops` of squares around the face's box, see `judges.face_tracks`; the median filter lasts half a second.

    Args:
        track: of the face.
        fps: frames per second of the source.
    """

    def __init__(self, track: Track, fps: float) -> None:
        first = int(track.frames[0])
        span = np.arange(first, track.last_frame + 1)
        boxes = np.stack([np.interp(span, track.frames, column) for column in np.asarray(track.boxes).T], axis=1)
        num_frames = 2 * round((MEDIAN_FRAMES // 2) * fps / _PUBLISHED_FPS) + 1
        self._squares = crop_squares(FaceTrack(first, boxes, len(track)), num_frames)

    def crop(self, index: int, image: np.ndarray, factors: np.ndarray) -> Tensor:
        """See `FaceCrops`."""
        half_side, x, y = self._squares[index] * (factors.mean(), *factors)
        crop = crop_square(image, float(half_side), float(x), float(y))
        return torch.from_numpy(crop).permute(2, 0, 1).float() / 127.5 - 1
