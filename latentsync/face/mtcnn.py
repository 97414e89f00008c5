"""Face detection with MTCNN (Zhang et al. 2016, arXiv 1604.02878), whose weights come with facenet-pytorch.

The three networks come from that package. The cascade around them is implemented here: it processes batches of frames,
pads faces that extend beyond the border instead of squeezing them, and does not require compiled torchvision. A known
face is followed by the same cascade, with a few levels of the image pyramid around it instead of the whole frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from latentsync.face.area_means import AreaMeans, bins
from latentsync.face.detection import Detection
from latentsync.face.frames import shrink_frames

_LONGEST_SIDE = 640
_SMALLEST_FACE = 0.045
"""Smallest detected face, as a share of the longest side of the frame."""

_PYRAMID_FACTOR = 0.709
_CELL, _STRIDE = 12, 2
"""Window and stride in pixels of the proposal network."""

_THRESHOLDS = (0.6, 0.7, 0.7)
_NETWORK_BATCHES = (128, 32, 8, 4, 1)
"""Crops per call of a network: few shapes, so that oneDNN's cached primitives and the allocator's blocks are reused."""

_FRAME_BATCH = 16
"""Frames whose image pyramids are processed together on a GPU."""

_PATCH = 28
"""Side in pixels of the part of a pyramid level in which a followed face is searched; even."""

_FOLLOWED_SCALES = (0.35, 1.6)
"""Windows of these sizes, as shares of a followed face's longer side, propose its box."""

_PROPOSAL_OVERLAP, _FOLLOWED_OVERLAP = 0.2, 0.5
"""Smallest intersection over union of a followed face's given box with proposed boxes, and with the box found."""

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


@dataclass
class _Patches:
    """Parts of pyramid levels: (m,) frames, levels, and first row and column in the level's pixels, which are even."""

    frame: np.ndarray
    level: np.ndarray
    top: np.ndarray
    left: np.ndarray

    def pick(self, part: slice) -> "_Patches":
        return _Patches(self.frame[part], self.level[part], self.top[part], self.left[part])


_NO_CANDIDATES = _Candidates(np.empty((0, 4)), np.empty(0), np.empty(0, dtype=int))


class MtcnnDetector:
    """`FollowingDetector` that derives the three anchors from five points per face.

    Args:
        device: device of the networks.
    """

    longest_side = _LONGEST_SIDE

    def __init__(self, device: torch.device | str = "cpu") -> None:
        from facenet_pytorch import MTCNN

        networks = MTCNN(keep_all=True, device=torch.device(device))
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack it
        self._device = torch.device(device)
        self._propose, self._refine, self._output = networks.pnet, networks.rnet, networks.onet

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector`."""
        # on a CPU a batch of frames gains nothing and takes its memory
        size = 1 if self._device.type == "cpu" else _FRAME_BATCH
        return [faces for i in range(0, len(frames), size) for faces in self._detect(frames[i : i + size])]

    def _detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        images, to_frame = self._reduced(frames)
        candidates = self._accepted(images, self._proposals(images))
        detections = _detections(candidates, self._points(images, candidates), to_frame)
        found: list[list[Detection]] = [[] for _ in frames]
        for i in np.argsort(-candidates.scores, kind="stable"):
            found[candidates.frame[i]].append(detections[i])
        return found

    @torch.inference_mode()
    def follow(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Detection | None]]:
        """See `FollowingDetector`."""
        counts = [len(part) for part in boxes]
        if sum(counts) == 0:
            return [[] for _ in frames]
        images, to_frame = self._reduced(frames)
        given = np.concatenate(boxes) / np.tile(to_frame, 2)
        frame = np.repeat(np.arange(len(frames)), counts)
        candidates = self._accepted(images, self._proposals_near(images, _squared(given), frame))
        overlaps = _overlaps(given, candidates.boxes) * (frame[:, None] == candidates.frame)
        candidates_of = [int(np.argmax(row)) if row.max(initial=0) >= _FOLLOWED_OVERLAP else None for row in overlaps]
        detections = _detections(candidates, self._points(images, candidates), to_frame)
        found = iter([None if i is None else detections[i] for i in candidates_of])
        return [[next(found) for _ in range(count)] for count in counts]

    @torch.inference_mode()
    def measure(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Detection | None]]:
        """See `FollowingDetector`."""
        counts = [len(part) for part in boxes]
        if sum(counts) == 0:
            return [[] for _ in frames]
        images, to_frame = self._reduced(frames)
        given = np.concatenate(boxes) / np.tile(to_frame, 2)
        views = self._views(images, given, np.repeat(np.arange(len(frames)), counts))
        scores = views[1].min(axis=0)
        faces = _Candidates(views[0].mean(axis=0), scores, np.zeros(len(given), dtype=int))
        detections = _detections(faces, views[2].mean(axis=0), to_frame)
        found = iter(face if face.score > _THRESHOLDS[2] else None for face in detections)
        return [[next(found) for _ in range(count)] for count in counts]

    def _reduced(self, frames: Sequence[np.ndarray]) -> tuple[AreaMeans, np.ndarray]:
        """Return the reduced frames for the networks, and the factors from their pixels to the frames'."""
        if max(frames[0].shape[:2]) <= _LONGEST_SIDE:
            return AreaMeans(frames, self._device), np.ones(2, dtype=np.float32)
        small, to_frame = shrink_frames(frames, _LONGEST_SIDE)
        return AreaMeans(list(small.permute(0, 2, 3, 1).numpy()), self._device), to_frame

    def _proposals(self, images: AreaMeans) -> _Candidates:
        """Return candidate boxes of every size: the proposal network applied to an image pyramid."""
        sizes = _pyramid(images.height, images.width)
        frame = np.arange(images.num_images)
        parts = [_NO_CANDIDATES]
        for number, (height, width) in enumerate(sizes):
            whole = _Patches(frame, np.full_like(frame, number), np.zeros_like(frame), np.zeros_like(frame))
            shift, face = self._propose(_pixels(images, whole, sizes, height, width))
            parts.append(_windows(images, whole, sizes, shift, face[:, 1]))
        return _suppressed(_joined(parts), 0.7)

    def _proposals_near(self, images: AreaMeans, squares: np.ndarray, frame: np.ndarray) -> _Candidates:
        """Return candidate boxes near (k, 4) squares in the frames (k,), from the fitting parts of the pyramid."""
        sizes = _pyramid(images.height, images.width)
        patches = _patches(images, sizes, squares, frame)
        if len(patches.frame) == 0:
            return _NO_CANDIDATES
        shift, face = _in_batches(
            lambda part: self._propose(_pixels(images, patches.pick(part), sizes, _PATCH, _PATCH)), len(patches.frame)
        )
        candidates = _suppressed(_windows(images, patches, sizes, shift, face[:, 1]), 0.7)
        overlaps = _overlaps(_squared(candidates.boxes), squares) * (candidates.frame[:, None] == frame)
        return candidates.pick(np.flatnonzero(overlaps.max(axis=1, initial=0) >= _PROPOSAL_OVERLAP))

    def _accepted(self, images: AreaMeans, candidates: _Candidates) -> _Candidates:
        """Return the candidates that the refinement and the output network accept, with their corrections."""
        candidates = _refined(images, candidates, self._refine, 24, _THRESHOLDS[1])
        return _refined(images, candidates, self._output, 48, _THRESHOLDS[2])

    def _points(self, images: AreaMeans, candidates: _Candidates) -> np.ndarray:
        """Return five points (k, 5, 2) of each face, averaged over slightly shifted crops.

        The points of a single crop jitter with the whole-pixel position of its box: on real clips the mean over five
        crops halves the second difference of the anchors over time.
        """
        if len(candidates.boxes) == 0:
            return np.empty((0, 5, 2))
        return self._views(images, candidates.boxes, candidates.frame)[2].mean(axis=0)

    def _views(
        self, images: AreaMeans, boxes: np.ndarray, frame: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (v, k, 4), scores (v, k) and points (v, k, 5, 2) from v shifted crops of (k, 4) boxes."""
        squares = _squared(boxes)
        shifts = np.tile(_VIEWS, 2)[:, None] * _sides(squares)
        views = _squared((squares + shifts).reshape(-1, 4))
        shift, points, face = _run(self._output, images, views, np.tile(frame, len(_VIEWS)), 48)
        places = views[:, None, :2] + points.reshape(-1, 2, 5).swapaxes(1, 2) * _sides(views)[:, None]
        found, num_views = views + shift * _sides(views), len(_VIEWS)
        return found.reshape(num_views, -1, 4), face[:, 1].reshape(num_views, -1), places.reshape(num_views, -1, 5, 2)


def _detections(candidates: _Candidates, points: np.ndarray, to_frame: np.ndarray) -> list[Detection]:
    """Return one detection in frame pixels for each candidate and its five points (k, 5, 2)."""
    boxes = (candidates.boxes * np.tile(to_frame, 2)).astype(np.float32)
    # from pixel edges to pixel centres
    points = points * to_frame - 0.5
    return [
        Detection(box, float(score), anchors_from_five(five))
        for box, score, five in zip(boxes, candidates.scores, points, strict=True)
    ]


def _refined(
    images: AreaMeans, candidates: _Candidates, network: nn.Module, side: int, threshold: float
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


def _run(network: nn.Module, images: AreaMeans, boxes: np.ndarray, frame: np.ndarray, side: int) -> list[np.ndarray]:
    """Return a network's outputs in float64 for the crops of (k, 4) square boxes, each from the image of its index."""
    corners = boxes.astype(int)
    sides = (corners[:, 2] - corners[:, 0])[:, None]
    inside = bins(np.arange(side), side, sides)
    columns, rows = (inside + corners[:, axis, None, None] for axis in (0, 1))
    outputs = _in_batches(lambda part: network(images(frame[part], rows[part], columns[part])), len(boxes))
    return [column.cpu().numpy().astype(np.float64) for column in outputs]


def _in_batches(run: Callable[[slice], Sequence[torch.Tensor]], count: int) -> list[torch.Tensor]:
    """Return a network's outputs for items 0 to count, which it receives in few different numbers."""
    outputs, start = [], 0
    while start < count:
        size = next(size for size in _NETWORK_BATCHES if size <= count - start)
        outputs.append(run(slice(start, start + size)))
        start += size
    return [torch.cat(column) for column in zip(*outputs, strict=True)]


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return the (k, 1) sides of square boxes (k, 4)."""
    return boxes[:, 2:3] - boxes[:, :1]


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


@lru_cache(maxsize=8)
def _pyramid(height: int, width: int) -> np.ndarray:
    """Return the (n, 2) sizes h, w in pixels of the image pyramid's levels, the largest first."""
    smallest = max(_CELL, _SMALLEST_FACE * max(height, width))
    sizes, scale = [], _CELL / smallest
    while min(height, width) * scale >= _CELL:
        sizes.append((int(height * scale + 1), int(width * scale + 1)))
        scale *= _PYRAMID_FACTOR
    return np.array(sizes, dtype=int).reshape(-1, 2)


def _patches(images: AreaMeans, sizes: np.ndarray, squares: np.ndarray, frame: np.ndarray) -> _Patches:
    """Return the patches, around the centres of square boxes (k, 4), of the levels whose windows are as large."""
    scales = sizes / (images.height, images.width)
    windows = _CELL / scales[:, 0]
    low, high = (share * _sides(squares) for share in _FOLLOWED_SCALES)
    face, level = np.nonzero((low <= windows) & (windows <= high))
    centres = (squares[face, :2] + squares[face, 2:])[:, ::-1] / 2 * scales[level]
    corners = np.minimum(np.round(centres / 2 - _PATCH / 4), np.ceil((sizes[level] - _PATCH) / 2))
    top, left = (np.maximum(corners, 0).astype(int) * 2).T
    return _Patches(frame[face], level, top, left)


def _pixels(images: AreaMeans, patches: _Patches, sizes: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Return patches (m, 3, height, width) of an image pyramid; the last row and column of a level are repeated."""
    heights, widths = sizes[patches.level, :1], sizes[patches.level, 1:]
    rows = np.minimum(patches.top[:, None] + np.arange(height), heights - 1)
    columns = np.minimum(patches.left[:, None] + np.arange(width), widths - 1)
    return images(patches.frame, bins(rows, heights, images.height), bins(columns, widths, images.width))


def _windows(
    images: AreaMeans, patches: _Patches, sizes: np.ndarray, shift: torch.Tensor, face: torch.Tensor
) -> _Candidates:
    """Return the candidates that the proposal network finds in patches, with overlaps in each level suppressed.

    Args:
        images, patches, sizes: the patches of levels of these sizes.
        shift: (m, 4, h, w) corrections of the boxes.
        face: (m, h, w) scores.
    """
    patch, row, column = np.nonzero(face.cpu().numpy() >= _THRESHOLDS[0])
    level = patches.level[patch]
    top, left = patches.top[patch] + row * _STRIDE, patches.left[patch] + column * _STRIDE
    # the network rounds a level's last cell up; patches may extend further
    inside = np.flatnonzero((top < sizes[level, 0] - _CELL + 2) & (left < sizes[level, 1] - _CELL + 2))
    patch, row, column, level = patch[inside], row[inside], column[inside], level[inside]
    scores = face.cpu().numpy()[patch, row, column].astype(np.float64)
    corrections = shift.cpu().numpy()[patch, :, row, column].astype(np.float64)
    scales = (sizes / (images.height, images.width))[level, ::-1]
    low, size = np.stack([left[inside], top[inside]], axis=1) / scales, _CELL / scales
    boxes = np.concatenate([low, low + size], axis=1)
    frame = patches.frame[patch]
    kept = _kept_by_suppression(_Candidates(boxes, scores, frame * len(sizes) + level), 0.5)
    return _Candidates(boxes + corrections * np.tile(size, 2), scores, frame).pick(kept)


def _squared(boxes: np.ndarray) -> np.ndarray:
    """Return (k, 4) squares of whole pixels around the same centres, as long as the longer side."""
    side = np.maximum(np.round((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0, keepdims=True)), 1)
    low = np.round((boxes[:, :2] + boxes[:, 2:] - side) / 2)
    return np.concatenate([low, low + side], axis=1)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersections over unions (k, l) of boxes (k, 4) and (l, 4)."""
    low, high = np.maximum(first[:, None, :2], second[:, :2]), np.minimum(first[:, None, 2:], second[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    area, other = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second))
    return shared / np.maximum(area[:, None] + other - shared, 1e-9)


def _joined(parts: Sequence[_Candidates]) -> _Candidates:
    """Return all candidates of several levels."""
    columns = zip(*((part.boxes, part.scores, part.frame) for part in parts), strict=True)
    return _Candidates(*(np.concatenate(column) for column in columns))


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
