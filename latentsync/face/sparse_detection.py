"""Detect faces fully in a few frames of a video, and follow them in between."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from latentsync.face.detection import Detection, FaceDetector, FollowingDetector
from latentsync.face.tracker import intersection_over_union

DETECTION_INTERVAL = 12
"""Frames from one full detection to the next, and twice as many while there is one certain face."""

_SAME_FACE_OVERLAP = 0.3
"""Smallest intersection over union of a face's boxes in two fully detected frames."""

_ONE_FACE_OVERLAP = 0.7
"""Intersection over union above which two followed faces are the same face."""

_CERTAIN_SCORE = 0.95
"""Score of a face that is not lost without a full detection; false faces rarely reach it twice."""

_Known = dict[int, list[Detection | None]]
"""The same faces in some frames, by the index of the frame; None where a face was not found."""

_Find = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], list[list[Detection | None]]]


class SparseDetector:
    """Detections of successive batches of frames, most of them by following.

    The first frame, every `interval`-th frame, the last frame of a batch and both frames at a cut are detected fully;
    while one certain face is all there is, only every second of the `interval`-th frames. Between two such frames a
    face in both is searched near the line between its two boxes in every second frame, and only measured in the others,
    where its neighbours tell its box. If it is certain and is not found, the frame is detected fully. A face in only
    one of the two is followed from there until it is lost.

    Args:
        detector: every frame is detected fully if it has no `follow`.
        interval: frames from one full detection to the next, in a batch at least twice as long; 1 detects every frame
            fully.
        is_first: the first batch is that of a video; False: it is a later one, and is given to `skip`.
    """

    def __init__(self, detector: FaceDetector, interval: int = DETECTION_INTERVAL, is_first: bool = True) -> None:
        self._detector = detector
        self._follower = detector if interval > 1 and isinstance(detector, FollowingDetector) else None
        self._interval = interval
        self._last: list[Detection] | None = None if is_first else []

    def detect(self, frames: Sequence[np.ndarray], is_cut: Sequence[bool]) -> list[list[Detection]]:
        """Return the faces of every frame of the next batch, highest score first.

        Args:
            frames: uint8 RGB (h, w, 3), all of one size.
            is_cut: True for the first frame of a scene.
        """
        if self._follower is None or not frames:
            return self._detector.detect(frames)
        found = {} if self._last is None else {-1: self._last}
        scenes = self._fully_detected(is_cut)
        self._detect(frames, [i for scene in scenes for i in scene if i >= 0], found)
        scenes = [self._with_middles(scene, found) for scene in scenes]
        self._detect(frames, [i for scene in scenes for i in scene if i not in found], found)
        for scene in scenes:
            for start, stop in pairwise(scene):
                found |= _between(self._follower, frames, (start, found[start]), (stop, found[stop]))
        self._detect(frames, [i for i in range(len(frames)) if i not in found], found)
        self._last = found[len(frames) - 1]
        return [found[i] for i in range(len(frames))]

    def skip(self, frames: Sequence[np.ndarray], is_cut: Sequence[bool]) -> None:
        """Pass over the next batch; the batches after it have the faces that they have after `detect`.

        Args:
            frames, is_cut: see `detect`.
        """
        if self._follower is None or not frames:
            return
        found: dict[int, list[Detection]] = {}
        # one call for the same frames as in `detect`: on GPUs, roundings differ with the size of a batch
        self._detect(frames, [i for scene in self._fully_detected(is_cut) for i in scene if i >= 0], found)
        self._last = found[len(frames) - 1]

    def _fully_detected(self, is_cut: Sequence[bool]) -> list[list[int]]:
        """Return the fully detected frames of each scene in the batch; -1 is the last frame of the batch before."""
        starts = [i for i in range(len(is_cut)) if is_cut[i] or (i == 0 and self._last is None)]
        if starts[:1] != [0]:
            starts = [-1, *starts]
        ends = [start - 1 for start in starts[1:]] + [len(is_cut) - 1]
        step = -2 * self._interval
        return [[start, *range(end, start, step)[::-1]] for start, end in zip(starts, ends, strict=True)]

    def _with_middles(self, scene: list[int], found: dict[int, list[Detection]]) -> list[int]:
        """Return the fully detected frames with another between two that do not have the same one certain face."""
        moving = [j for i, j in pairwise(scene) if j - i > self._interval and not _is_steady(found[i], found[j])]
        return sorted([*scene, *(i - self._interval for i in moving)])

    def _detect(self, frames: Sequence[np.ndarray], indices: list[int], found: dict[int, list[Detection]]) -> None:
        if indices:
            found.update(zip(indices, self._detector.detect([frames[i] for i in indices]), strict=True))


def _between(
    detector: FollowingDetector,
    frames: Sequence[np.ndarray],
    first: tuple[int, list[Detection]],
    last: tuple[int, list[Detection]],
) -> dict[int, list[Detection]]:
    """Return the faces of the frames between two, given these frames' indices and faces.

    Frames in which a certain face of both is not found again are left out.
    """
    (start, before), (stop, after) = first, last
    inside = range(start + 1, stop)
    pairs = _same_faces(before, after)
    found: dict[int, list[Detection]] = {i: [] for i in inside}
    if pairs and inside:
        certain = [_is_certain(before[i], after[j]) for i, j in pairs]
        known: _Known = {start: [before[i] for i, _ in pairs], stop: [after[j] for _, j in pairs]}
        _search(detector.follow, frames, inside[1::2], known)
        _search(detector.measure, frames, inside[::2], known)
        _search(detector.follow, frames, [i for i in inside[::2] if None in known[i]], known)
        for i in inside:
            if any(face is None and must for face, must in zip(known[i], certain, strict=True)):
                del found[i]
            else:
                found[i] += [face for face in known[i] if face is not None]
    leaving = [face for i, face in enumerate(before) if i not in {i for i, _ in pairs}]
    entering = [face for j, face in enumerate(after) if j not in {j for _, j in pairs}]
    for order, faces in ((inside, leaving), (inside[::-1], entering)):
        for face in faces:
            for i, detection in _followed(detector, frames, order, face):
                if i in found:
                    found[i].append(detection)
    return {i: _distinct(faces) for i, faces in found.items()}


def _search(find: _Find, frames: Sequence[np.ndarray], indices: Sequence[int], known: _Known) -> None:
    """Add the same faces of more frames, which are searched near the lines between the known boxes."""
    if indices:
        boxes = [_boxes_between(known, i) for i in indices]
        known.update(zip(indices, find([frames[i] for i in indices], boxes), strict=True))


def _boxes_between(known: _Known, frame: int) -> np.ndarray:
    """Return the (k, 4) boxes of the known faces in a frame, each from the nearest frames that have the face."""
    boxes = []
    for number in range(len(known[min(known)])):
        of_face = {i: face.box for i, faces in known.items() if (face := faces[number]) is not None}
        low, high = max(i for i in of_face if i < frame), min(i for i in of_face if i > frame)
        share = (frame - low) / (high - low)
        boxes.append((1 - share) * of_face[low] + share * of_face[high])
    return np.stack(boxes)


def _followed(
    detector: FollowingDetector, frames: Sequence[np.ndarray], order: Sequence[int], face: Detection
) -> Iterator[tuple[int, Detection]]:
    """Yield the indices of frames, and the face in them, until it is lost."""
    for i in order:
        ((found,),) = detector.follow([frames[i]], [face.box[None]])
        if found is None:
            return
        yield i, (face := found)


def _is_certain(*faces: Detection) -> bool:
    """Return True if a face with these detections is not lost without a full detection."""
    return min(face.score for face in faces) >= _CERTAIN_SCORE


def _is_steady(before: Sequence[Detection], after: Sequence[Detection]) -> bool:
    """Return True if two frames have one face each, which is certain and the same."""
    one = len(before) == len(after) == 1
    return one and _is_certain(*before, *after) and bool(_same_faces(before, after))


def _same_faces(before: Sequence[Detection], after: Sequence[Detection]) -> list[tuple[int, int]]:
    """Return the indices of the faces that are in both of two frames, those with the largest overlap first."""
    overlaps = [
        (intersection_over_union(first.box, second.box), i, j)
        for i, first in enumerate(before)
        for j, second in enumerate(after)
    ]
    pairs: dict[int, int] = {}
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap >= _SAME_FACE_OVERLAP and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return list(pairs.items())


def _distinct(faces: Sequence[Detection]) -> list[Detection]:
    """Return the faces by falling score, of two that overlap only the better one."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(intersection_over_union(face.box, other.box) <= _ONE_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept
