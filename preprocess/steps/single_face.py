"""The single face of a clip: the rule that accepts it, and the sidecar file in which step 5 stores it.

Later steps read the sidecar and detect no face again.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from latentsync.errors import InputError
from latentsync.face.detection import Detection
from latentsync.face.tracker import FaceTracker, Track, continuations, intersection_over_union, select_track
from preprocess.step import Rejected

REASONS: Mapping[str, str] = {
    "no_face": "no face can be tracked for five frames",
    "several_faces": "two faces are detected at once in more than max_other_frames frames",
    "face_jumps": "the face changes its place between two detections, as at a cut, or another face replaces it",
    "face_gaps": "the face is missing in more than max_gap frames in a row, or in more than 1 - min_detected of all",
    "small_face": "the longer side of the face's box, its median over the clip, is below the resolution",
}

_ROW_SHAPES = {"boxes": (4,), "anchors": (3, 2), "scores": (), "detected": ()}
_DTYPES = {"boxes": np.float32, "anchors": np.float32, "scores": np.float32, "detected": np.bool_}


@dataclass(frozen=True)
class SingleFaceRule:
    """Thresholds for a clip that shows a single face throughout.

    Attributes:
        resolution: minimum size of the face in pixels: the larger of its median width and median height. The aligned
            crop is then hardly enlarged: with MTCNN's boxes a crop of 256 px has 259 to 270 pixels for the box's height
            (three real clips).
        max_gap: maximum number of consecutive frames without the face, at the ends of the clip too.
        min_detected: minimum share of all frames in which the face is detected.
        min_overlap: minimum intersection over union of the boxes of two successive detections.
        other_score: minimum detection score of another face to count. MTCNN mistakes folded hands for a face: in one
            real clip of 250 frames in 9 frames at 0.9, in 4 frames at 0.95 (with max_other_frames 0 the detail of the
            rejection counts them).
        max_other_frames: number of frames in which another face is accepted as a false detection.
    """

    resolution: int = 256
    max_gap: int = 12
    min_detected: float = 0.9
    min_overlap: float = 0.3
    other_score: float = 0.95
    max_other_frames: int = 5

    def __post_init__(self) -> None:
        for name, lowest in (("resolution", 1), ("max_gap", 0), ("max_other_frames", 0)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} {getattr(self, name)} is out of range: use {lowest} or more")
        for name in ("min_detected", "min_overlap", "other_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} is out of range: use 0 to 1")


@dataclass(frozen=True)
class SingleFace:
    """The single face of a clip in each of its n frames; gaps are interpolated.

    Attributes:
        boxes: (n, 4) float32 x0, y0, x1, y1 in pixels of the clip.
        anchors: (n, 3, 2) float32 left brow, right brow, nose in pixels of the clip, as detected, not smoothed.
        scores: (n,) float32 detection scores, 0 to 1; 0 in frames without a detection.
        detected: (n,) bool, True in frames with a detection.
    """

    boxes: np.ndarray
    anchors: np.ndarray
    scores: np.ndarray
    detected: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def median_size(self) -> tuple[float, float]:
        """Median width and height in pixels of the detected boxes, to 0.1 pixels."""
        width, height = (
            round(float(np.median(self.boxes[self.detected, 2 + axis] - self.boxes[self.detected, axis])), 1)
            for axis in (0, 1)
        )
        return width, height


def write_single_face(path: Path, face: SingleFace) -> None:
    """Write an npz file. Equal faces give equal bytes.

    Raises:
        ValueError: the shape of an array is wrong.
    """
    arrays = {name: np.asarray(getattr(face, name), dtype=dtype) for name, dtype in _DTYPES.items()}
    _check_shapes(arrays)
    # Not compressed, and NumPy stores no time for the members: the bytes are equal in every run, on every machine.
    np.savez(
        path,
        boxes=arrays["boxes"],
        anchors=arrays["anchors"],
        scores=arrays["scores"],
        detected=arrays["detected"],
    )


def read_single_face(path: Path | str) -> SingleFace:
    """Read a file written by `write_single_face`.

    Raises:
        InputError: the file is missing or damaged, or its content is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ROW_SHAPES}
        _check_shapes(arrays)
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a face track that can be read: run step 5 again") from error
    return SingleFace(**{name: array.astype(_DTYPES[name], copy=False) for name, array in arrays.items()})


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    num_frames = len(arrays["boxes"])
    for name, row_shape in _ROW_SHAPES.items():
        if arrays[name].shape != (num_frames, *row_shape):
            raise ValueError(f"{name} of a face track has shape {arrays[name].shape}, not {(num_frames, *row_shape)}")


def find_single_face(detections: Sequence[Sequence[Detection]], rule: SingleFaceRule) -> SingleFace | Rejected:
    """Return the single face of a clip, or the rejection of the clip.

    The largest track (area times time, `latentsync.face.tracker`) is followed together with the tracks that continue
    it. Another face is a detection with a score of at least `other_score` whose centre lies outside the box of the
    followed face. In frames without the followed face it is a detection that overlaps the interpolated box by less than
    `min_overlap`.

    Args:
        detections: detected faces of each frame of one shot.
        rule: thresholds.
    """
    parts = _largest_track(detections)
    if not parts:
        num_detected = sum(bool(faces) for faces in detections)
        return Rejected("no_face", f"a face in {num_detected} of {len(detections)} frames, none tracked")
    face = _interpolate(parts, detections)
    width, height = face.median_size
    facts = {"face_width": width, "face_height": height}
    num_beside, num_instead = _count_other_faces(face, detections, rule)
    overlap, frame = _min_overlap(face)
    gap, share = _longest_gap(face.detected), float(face.detected.mean())
    if num_beside > rule.max_other_frames:
        return Rejected("several_faces", f"another face in {num_beside} of {len(face)} frames", facts)
    if num_instead > rule.max_other_frames:
        return Rejected("face_jumps", f"the only face is another one in {num_instead} of {len(face)} frames", facts)
    if gap > rule.max_gap or share < rule.min_detected:
        return Rejected("face_gaps", f"detected in {share:.1%} of the frames, longest gap {gap} frames", facts)
    if overlap < rule.min_overlap:
        return Rejected("face_jumps", f"overlap {overlap:.2f} with the previous box at frame {frame}", facts)
    if max(width, height) < rule.resolution:
        return Rejected("small_face", f"{width:.0f} x {height:.0f} px, at least {rule.resolution} px needed", facts)
    return face


def _largest_track(detections: Sequence[Sequence[Detection]]) -> list[Track]:
    """Return the largest track and the tracks that continue it."""
    tracker = FaceTracker()
    for faces in detections:
        tracker.add(faces, is_cut=False)
    tracks = tracker.tracks()
    largest = select_track(tracks, "largest", (1, 1))
    return [] if largest is None else continuations(largest, tracks)


def _interpolate(parts: Sequence[Track], detections: Sequence[Sequence[Detection]]) -> SingleFace:
    """Interpolate linearly between detections; repeat the first and the last one up to the ends of the clip."""
    known = np.concatenate([part.frames for part in parts])
    rows = np.concatenate([np.concatenate([part.boxes, part.anchors.reshape(-1, 6)], axis=1) for part in parts])
    frames = np.arange(len(detections))
    filled = np.stack([np.interp(frames, known, column) for column in rows.T], axis=1).astype(np.float32)
    detected = np.isin(frames, known)
    scores = np.zeros(len(frames), dtype=np.float32)
    for frame, box in zip(known, rows[:, :4], strict=True):
        scores[frame] = next(face.score for face in detections[frame] if np.array_equal(np.float32(face.box), box))
    return SingleFace(filled[:, :4], filled[:, 4:].reshape(-1, 3, 2), scores, detected)


def _count_other_faces(
    face: SingleFace, detections: Sequence[Sequence[Detection]], rule: SingleFaceRule
) -> tuple[int, int]:
    """Return the number of frames with another face beside the followed one, and with another face instead of it."""
    num_beside = num_instead = 0
    for box, is_detected, faces in zip(face.boxes, face.detected, detections, strict=True):
        others = [other.box for other in faces if other.score >= rule.other_score]
        if is_detected:
            num_beside += any(not _contains_centre(box, other) for other in others)
        else:
            num_instead += any(intersection_over_union(box, other) < rule.min_overlap for other in others)
    return num_beside, num_instead


def _contains_centre(box: np.ndarray, other: np.ndarray) -> bool:
    centre = (other[:2] + other[2:]) / 2
    return bool((box[:2] <= centre).all() and (centre < box[2:]).all())


def _min_overlap(face: SingleFace) -> tuple[float, int]:
    """Return the minimum overlap of successive detections and the frame of the later one; (1, 0) for one detection."""
    frames = np.flatnonzero(face.detected)
    overlaps = [intersection_over_union(face.boxes[a], face.boxes[b]) for a, b in pairwise(frames)]
    if not overlaps:
        return 1.0, 0
    lowest = int(np.argmin(overlaps))
    return overlaps[lowest], int(frames[lowest + 1])


def _longest_gap(detected: np.ndarray) -> int:
    edges = np.concatenate([[-1], np.flatnonzero(detected), [len(detected)]])
    return int(np.diff(edges).max()) - 1
