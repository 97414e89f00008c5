"""Detect the faces of a video batch by batch: the part of the first pass that needs pixels.

A batch depends on earlier frames only through the batch before (`SparseDetector.skip`), so that parts of a video can be
searched independently of each other, with equal results.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from latentsync.face.appearance import AppearanceDescriber
from latentsync.face.cuts import CutDetector
from latentsync.face.detection import Detection, FaceDetector
from latentsync.face.sparse_detection import SparseDetector
from latentsync.prefetch import prefetch

_FRAMES_AHEAD = 8
"""Frames, compared with the frame before, that may wait for the face detector."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one frame.

    Attributes:
        is_cut: True for the first frame of a scene.
        faces: in the pixels of the video, highest score first.
        looks: descriptor of each face's appearance; None for a face that is not described.
    """

    is_cut: bool
    faces: Sequence[Detection]
    looks: Sequence[np.ndarray | None]


@dataclass(frozen=True)
class DetectedFaces:
    """The k faces of n successive frames as arrays: about 60 bytes per face, and 300 for one that is described.

    Attributes:
        is_cut: (n,) bool, True for the first frame of a scene.
        num_faces: (n,) int32 number of faces of each frame.
        boxes, scores, anchors: (k, 4) float32, (k,) float64 and (k, 3, 2) float32, see `Detection`.
        look: (k,) int32 row of the face in `looks`, -1 for a face that is not described.
        looks: (m, d) float32 descriptors of appearance.
    """

    is_cut: np.ndarray
    num_faces: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    anchors: np.ndarray
    look: np.ndarray
    looks: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[FrameFaces]) -> "DetectedFaces":
        """Return the arrays of successive frames."""
        faces = [face for frame in frames for face in frame.faces]
        looks = [look for frame in frames for look in frame.looks]
        is_described = np.array([look is not None for look in looks], dtype=bool)
        described = [look for look in looks if look is not None]
        return cls(
            np.array([frame.is_cut for frame in frames], dtype=bool),
            np.array([len(frame.faces) for frame in frames], dtype=np.int32),
            np.array([face.box for face in faces], dtype=np.float32).reshape(-1, 4),
            np.array([face.score for face in faces], dtype=np.float64),
            np.array([face.anchors for face in faces], dtype=np.float32).reshape(-1, 3, 2),
            np.where(is_described, np.cumsum(is_described) - 1, -1).astype(np.int32),
            np.stack(described) if described else np.empty((0, 0), dtype=np.float32),
        )

    def __len__(self) -> int:
        return len(self.is_cut)

    def frames(self) -> Iterator[FrameFaces]:
        """Yield the faces of each frame."""
        stops = np.cumsum(self.num_faces).tolist()
        for is_cut, count, stop in zip(self.is_cut.tolist(), self.num_faces.tolist(), stops, strict=True):
            span = range(stop - count, stop)
            faces = [Detection(self.boxes[k], float(self.scores[k]), self.anchors[k]) for k in span]
            yield FrameFaces(is_cut, faces, [None if self.look[k] < 0 else self.looks[self.look[k]] for k in span])


def detect_faces(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    frame_size: tuple[int, int],
    batch_size: int,
    interval: int,
    describer: AppearanceDescriber,
    num_before: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Generator[DetectedFaces, None, None]:
    """Yield the faces of each batch; memory holds one batch of frames.

    The frames are read and searched for cuts in a thread of their own.

    Args:
        frames: uint8 RGB (h, w, 3), all of one size; they begin `num_before` frames before a batch of the video.
        detector: the face detector.
        frame_size: (w, h) of the video's frames in pixels; the given frames may be reduced ones.
        batch_size: frames detected together.
        interval: that of `SparseDetector`.
        describer: descriptor of people.
        num_before: see `frames_before`; their faces are left out.
        progress: called with the number of frames with known faces after each batch.
    """
    cuts, num_done = CutDetector(), 0
    sparse = SparseDetector(detector, interval, is_first=num_before <= batch_size)
    with closing(prefetch(((frame, cuts.is_cut(frame)) for frame in frames), _FRAMES_AHEAD)) as marked:
        before = list(islice(marked, num_before))
        if before:
            sparse.skip(*zip(*before[-batch_size:], strict=True))
            before.clear()
        for pairs in _batches(marked, batch_size):
            batch, is_cut = zip(*pairs, strict=True)
            found = sparse.detect(batch, is_cut)
            looks = _looks(batch, found, is_cut, describer)
            height, width = batch[0].shape[:2]
            factors = np.array([frame_size[0] / width, frame_size[1] / height])
            scaled = [[_scaled(face, factors) for face in faces] for faces in found]
            num_done += len(batch)
            if progress is not None:
                progress(num_done)
            yield DetectedFaces.of([FrameFaces(*each) for each in zip(is_cut, scaled, looks, strict=True)])


def frames_before(start: int, batch_size: int) -> int:
    """Return the number of frames before a batch from which its faces follow, given its first frame.

    These are the batch before, and the frame with which its first frame is compared to find a cut.
    """
    return min(start, batch_size + 1)


def _looks(
    batch: Sequence[np.ndarray],
    found: Sequence[Sequence[Detection]],
    is_cut: Sequence[bool],
    describer: AppearanceDescriber,
) -> list[Sequence[np.ndarray | None]]:
    """Describe the faces of the first and of every n-th frame of a batch, and where a scene or their number changes.

    Of frames with several faces twice as many are described.
    """
    looks: list[Sequence[np.ndarray | None]] = []
    num_faces, since = -1, 0
    for frame, faces, cut in zip(batch, found, is_cut, strict=True):
        is_due = since >= describer.interval // (2 if len(faces) > 1 else 1)
        is_described = cut or is_due or len(faces) != num_faces
        num_faces, since = len(faces), 1 if is_described else since + 1
        looks.append(describer.describe(frame, faces) if is_described and faces else [None] * len(faces))
    return looks


def _scaled(face: Detection, factors: np.ndarray) -> Detection:
    """Return a detection in frames that are larger by factors in x and y; anchors count from pixel centres."""
    if (factors == 1).all():
        return face
    anchors = (face.anchors + 0.5) * factors - 0.5
    return Detection((face.box * np.tile(factors, 2)).astype(np.float32), face.score, anchors.astype(np.float32))


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while batch := list(islice(items, size)):
        yield batch
