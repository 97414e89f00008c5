"""Face detection with MTCNN (Zhang et al. 2016, arXiv 1604.02878), whose weights come with facenet-pytorch.

The three networks come from that package. The cascade around them is implemented here: it processes batches of frames,
pads faces that extend beyond the border instead of squeezing them, and does not require compiled torchvision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from latentsync.face.detection import Detection
from latentsync.face.frames import shrink_frames

_LONGEST_SIDE = 640
_SMALLEST_FACE = 0.045
"""Smallest detected face, as a share of the longest side of the frame."""

_PYRAMID_FACTOR = 0.709
_CELL, _STRIDE = 12, 2
"""Window and stride in pixels of the proposal network."""

_THRESHOLDS = (0.6, 0.7, 0.7)
_NETWORK_BATCH = 512
_VIEWS = np.array([[0.0, 0.0], [0.05, 0.0], [-0.05, 0.0], [0.0, 0.05], [0.0, -0.05]])
"""Shifts of the shifted crops whose points are averaged, as shares of the face's box."""


@dataclass
class _Candidates:
    """Boxes (k, 4) x0, y0, x1, y1 (integers are pixel edges), scores (k,) and frame indices (k,)."""

    boxes: np.ndarray
    scores: np.ndarray
    frame: np.ndarray

    def pick(self, indices: np.ndarray) -> "_Candidates":
        return _Candidates(self.boxes[indices], self.scores[indices], self.frame[indices])


class MtcnnDetector:
    """`FaceDetector` that derives the three anchors from five points per face.

    Args:
        device: device of the networks.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        from facenet_pytorch import MTCNN

        networks = MTCNN(keep_all=True, device=torch.device(device))
        self._device = torch.device(device)
        self._propose, self._refine, self._output = networks.pnet, networks.rnet, networks.onet

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector`."""
        if not frames:
            return []
        small, to_frame = shrink_frames(frames, _LONGEST_SIDE)
        images = (small.to(self._device).float() - 127.5) / 128
        candidates = self._proposals(images)
        candidates = self._refined(images, candidates, self._refine, 24, _THRESHOLDS[1])
        candidates = self._refined(images, candidates, self._output, 48, _THRESHOLDS[2])
        points = self._points(images, candidates)
        found: list[list[Detection]] = [[] for _ in frames]
        for i in np.argsort(-candidates.scores, kind="stable"):
            box = (candidates.boxes[i] * np.tile(to_frame, 2)).astype(np.float32)
            # from pixel edges to pixel centres
            anchors = anchors_from_five(points[i] * to_frame - 0.5)
            found[candidates.frame[i]].append(Detection(box, float(candidates.scores[i]), anchors))
        return found

    def _proposals(self, images: torch.Tensor) -> _Candidates:
        """Return candidate boxes of every size: the proposal network applied to an image pyramid."""
        height, width = images.shape[2:]
        smallest = max(_CELL, _SMALLEST_FACE * max(height, width))
        parts, scale = [], _CELL / smallest
        while min(height, width) * scale >= _CELL:
            level = F.interpolate(images, (int(height * scale + 1), int(width * scale + 1)), mode="area")
            shift, face = self._propose(level.contiguous(memory_format=torch.channels_last))
            parts.append(_windows(shift, face[:, 1], level.shape[2] / height, level.shape[3] / width))
            scale *= _PYRAMID_FACTOR
        if not parts:
            return _Candidates(np.empty((0, 4)), np.empty(0), np.empty(0, dtype=int))
        boxes, scores, frame = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return _suppressed(_Candidates(boxes, scores, frame), 0.7)

    def _refined(
        self, images: torch.Tensor, candidates: _Candidates, network: nn.Module, side: int, threshold: float
    ) -> _Candidates:
        """Return the candidates whose crops a network accepts, with its corrections of their boxes."""
        boxes = _squared(candidates.boxes)
        if len(boxes) == 0:
            return candidates
        # the refinement network returns (shift, face), the output network (shift, points, face)
        shift, *points, face = _run(network, images, boxes, candidates.frame, side)
        refined = _Candidates(boxes + shift * _sides(boxes), face[:, 1], candidates.frame)
        refined = refined.pick(np.flatnonzero(refined.scores > threshold))
        return refined.pick(_kept_by_suppression(refined, 0.7, of_smaller=bool(points)))

    def _points(self, images: torch.Tensor, candidates: _Candidates) -> np.ndarray:
        """Return five points (k, 5, 2) of each face, averaged over slightly shifted crops.

        The points of a single crop jitter with the whole-pixel position of its box: on real clips the mean over five
        crops halves the second difference of the anchors over time.
        """
        squares = _squared(candidates.boxes)
        if len(squares) == 0:
            return np.empty((0, 5, 2))
        shifts = np.tile(_VIEWS, 2)[:, None] * _sides(squares)
        views = _squared((squares + shifts).reshape(-1, 4))
        _, points, _ = _run(self._output, images, views, np.tile(candidates.frame, len(_VIEWS)), 48)
        places = views[:, None, :2] + points.reshape(-1, 2, 5).swapaxes(1, 2) * _sides(views)[:, None]
        return places.reshape(len(_VIEWS), -1, 5, 2).mean(axis=0)


def _run(network: nn.Module, images: torch.Tensor, boxes: np.ndarray, frame: np.ndarray, side: int) -> list[np.ndarray]:
    """Return a network's outputs in float64 for the crops of (k, 4) square boxes, each from the image of its index."""
    crops = [_padded_crop(images[index], box, side) for index, box in zip(frame, boxes, strict=True)]
    outputs = [network(_batched(crops[i : i + _NETWORK_BATCH])) for i in range(0, len(crops), _NETWORK_BATCH)]
    return [torch.cat(column).cpu().numpy().astype(np.float64) for column in zip(*outputs, strict=True)]


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return the (k, 1) sides of square boxes (k, 4)."""
    return boxes[:, 2:3] - boxes[:, :1]


def _batched(crops: list[torch.Tensor]) -> torch.Tensor:
    """Stack k crops to (k, 3, side, side); channels_last makes the pooling several times faster on a CPU."""
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def anchors_from_five(points: np.ndarray) -> np.ndarray:
    """Return (3, 2) float32 left brow, right brow, nose from (5, 2) left eye, right eye, nose, mouth corners.

    With d the distance between the eyes, along the eye line: a brow lies 0.09 d outside and 0.32 d above its eye, the
    nose anchor 0.03 d above the nose point (fitted on 409 real frames to the means of the 68-point brows and nose).
    """
    left_eye, right_eye, nose = np.asarray(points[:3], dtype=np.float64)
    across = right_eye - left_eye
    up = np.array([across[1], -across[0]])
    anchors = [left_eye - 0.09 * across + 0.32 * up, right_eye + 0.09 * across + 0.32 * up, nose + 0.03 * up]
    return np.array(anchors, dtype=np.float32)


def _windows(
    shift: torch.Tensor, face: torch.Tensor, scale_y: float, scale_x: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corrected boxes (k, 4), scores (k,) and frames (k,) of one pyramid level.

    Args:
        shift: (b, 4, h, w) corrections of the boxes.
        face: (b, h, w) scores.
        scale_y, scale_x: size of the level relative to the image.
    """
    frame, row, column = (index.cpu().numpy() for index in torch.nonzero(face >= _THRESHOLDS[0], as_tuple=True))
    scores = face[frame, row, column].cpu().numpy().astype(np.float64)
    corrections = shift[frame, :, row, column].cpu().numpy().astype(np.float64)
    low = np.stack([column * _STRIDE / scale_x, row * _STRIDE / scale_y], axis=1)
    size = np.array([_CELL / scale_x, _CELL / scale_y])
    boxes = np.concatenate([low, low + size], axis=1)
    kept = _kept_by_suppression(_Candidates(boxes, scores, frame), 0.5)
    return (boxes + corrections * np.tile(size, 2))[kept], scores[kept], frame[kept]


def _squared(boxes: np.ndarray) -> np.ndarray:
    """Return (k, 4) squares of whole pixels around the same centres, as long as the longer side."""
    side = np.maximum(np.round((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0, keepdims=True)), 1)
    low = np.round((boxes[:, :2] + boxes[:, 2:] - side) / 2)
    return np.concatenate([low, low + side], axis=1)


def _padded_crop(image: torch.Tensor, box: np.ndarray, side: int) -> torch.Tensor:
    """Return the part of an image (3, h, w) in a square box as (3, side, side); mid-grey outside the image."""
    height, width = image.shape[1:]
    x0, y0, x1, y1 = (int(value) for value in box)
    left, top = min(max(x0, 0), width), min(max(y0, 0), height)
    right, bottom = max(min(x1, width), left), max(min(y1, height), top)
    inside = F.pad(image[:, top:bottom, left:right], (left - x0, x1 - right, top - y0, y1 - bottom))
    return F.adaptive_avg_pool2d(inside, side)


def _suppressed(candidates: _Candidates, threshold: float) -> _Candidates:
    return candidates.pick(_kept_by_suppression(candidates, threshold))


def _kept_by_suppression(candidates: _Candidates, threshold: float, of_smaller: bool = False) -> np.ndarray:
    """Return the indices kept by non-maximum suppression within each frame.

    Args:
        candidates: the boxes and their scores.
        threshold: overlap with a better box above which a box is dropped.
        of_smaller: measure the overlap as a share of the smaller box instead of the union.
    """
    low, high = candidates.boxes[:, :2], candidates.boxes[:, 2:]
    area = np.maximum(high - low, 0).prod(axis=1)
    kept = []
    for frame in np.unique(candidates.frame):
        order = np.flatnonzero(candidates.frame == frame)
        order = order[np.argsort(-candidates.scores[order], kind="stable")]
        while len(order):
            best, rest = order[0], order[1:]
            kept.append(best)
            shared = np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest])
            shared = np.maximum(shared, 0).prod(axis=1)
            whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - shared
            order = rest[shared <= threshold * whole]
    return np.array(kept, dtype=int)
