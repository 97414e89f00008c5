"""The rule by which a clip shows one face throughout, applied to the detections of its frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latentsync.face.detection import Detection
from latentsync.face.tracker import FaceTracker, Track, continuations, intersection_over_union, select_track
from preprocess.face_track_file import ClipFace
from preprocess.verdict import Rejected

REASONS: Mapping[str, str] = {
    "no_face": "no face is followed for as much as five frames",
    "several_faces": "two faces are seen at once in more than max_other_frames frames",
    "face_jumps": "the face is somewhere else from one detection to the next, as at a cut, or another face takes over",
    "face_gaps": "the face is missing in more than max_gap frames in a row, or in more than 1 - min_detected of all",
    "small_face": "the longer side of the face's box, its median over the clip, is below the resolution",
}


@dataclass(frozen=True)
class OneFaceRule:
    """What passes as one face throughout.

    Attributes:
        resolution: pixels that a square around the face's box must have: the larger of its median width and median
            height. The aligned crop is then hardly an enlargement: with MTCNN's boxes a crop of 256 px has 259 to 270
            pixels for the box's height (three real clips).
        max_gap: frames in a row in which the face may be missing, at the ends of the clip too.
        min_detected: share of all frames in which it must be found.
        min_overlap: intersection over union of its boxes in one detection and the next.
        other_score: how sure the detector must be of another face for it to count. MTCNN takes folded hands for a face:
            in one real clip of 250 frames in 9 at 0.9, in 4 at 0.95 (with max_other_frames 0 the verdict counts them).
        max_other_frames: in so many frames of the clip another face is taken for a mistake of the detector.
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


def follow_one_face(detections: Sequence[Sequence[Detection]], rule: OneFaceRule) -> ClipFace | Rejected:
    """The face of a clip in every frame, or why the clip has not one face throughout.

    Followed is the largest track, area times time (`latentsync.face.tracker`), with those that take it up. Another face
    is a detection of at least `other_score` whose centre lies outside the box of the face followed; where that one is
    not found, a detection that hardly overlaps the place it should be at.

    Args:
        detections: the faces of each frame of one shot.
        rule: what passes.
    """
    parts = _followed(detections)
    if not parts:
        found = sum(bool(faces) for faces in detections)
        return Rejected("no_face", f"a face in {found} of {len(detections)} frames, none followed")
    face = _in_every_frame(parts, detections)
    facts = {"face_width": _median_side(face, 0), "face_height": _median_side(face, 1)}
    at_once, elsewhere = _other_faces(face, detections, rule)
    overlap, before = _least_overlap(face)
    gap, share = _longest_gap(face.detected), float(face.detected.mean())
    if at_once > rule.max_other_frames:
        return Rejected("several_faces", f"another face in {at_once} of {len(face)} frames", facts)
    if elsewhere > rule.max_other_frames:
        return Rejected("face_jumps", f"the only face is another one in {elsewhere} of {len(face)} frames", facts)
    if gap > rule.max_gap or share < rule.min_detected:
        return Rejected("face_gaps", f"found in {share:.1%} of the frames, longest gap {gap} frames", facts)
    if overlap < rule.min_overlap:
        return Rejected("face_jumps", f"overlap {overlap:.2f} with the box before at frame {before}", facts)
    if max(facts.values()) < rule.resolution:
        width, height = facts["face_width"], facts["face_height"]
        return Rejected("small_face", f"{width:.0f} x {height:.0f} px, wanted {rule.resolution} px", facts)
    return face


def median_size(face: ClipFace) -> tuple[float, float]:
    """Median width and height of the face's box where it was found, in pixels."""
    return _median_side(face, 0), _median_side(face, 1)


def _followed(detections: Sequence[Sequence[Detection]]) -> list[Track]:
    tracker = FaceTracker()
    for faces in detections:
        tracker.add(faces, is_cut=False)
    tracks = tracker.tracks()
    largest = select_track(tracks, "largest", (1, 1))
    return [] if largest is None else continuations(largest, tracks)


def _in_every_frame(parts: Sequence[Track], detections: Sequence[Sequence[Detection]]) -> ClipFace:
    """Straight lines through the gaps; before the first and after the last detection the face stands still."""
    seen = np.concatenate([part.frames for part in parts])
    rows = np.concatenate([np.concatenate([part.boxes, part.anchors.reshape(-1, 6)], axis=1) for part in parts])
    span = np.arange(len(detections))
    filled = np.stack([np.interp(span, seen, column) for column in rows.T], axis=1).astype(np.float32)
    detected = np.isin(span, seen)
    scores = np.zeros(len(span), dtype=np.float32)
    for frame, box in zip(seen, rows[:, :4], strict=True):
        scores[frame] = next(face.score for face in detections[frame] if np.array_equal(np.float32(face.box), box))
    return ClipFace(filled[:, :4], filled[:, 4:].reshape(-1, 3, 2), scores, detected)


def _median_side(face: ClipFace, axis: int) -> float:
    sides = face.boxes[face.detected, 2 + axis] - face.boxes[face.detected, axis]
    return round(float(np.median(sides)), 1)


def _other_faces(face: ClipFace, detections: Sequence[Sequence[Detection]], rule: OneFaceRule) -> tuple[int, int]:
    """In how many frames another face is seen beside the one followed, and in how many instead of it."""
    at_once = elsewhere = 0
    for box, is_found, faces in zip(face.boxes, face.detected, detections, strict=True):
        sure = [other.box for other in faces if other.score >= rule.other_score]
        if is_found:
            at_once += any(not _holds_centre(box, other) for other in sure)
        else:
            elsewhere += any(intersection_over_union(box, other) < rule.min_overlap for other in sure)
    return at_once, elsewhere


def _holds_centre(box: np.ndarray, other: np.ndarray) -> bool:
    centre = (other[:2] + other[2:]) / 2
    return bool((box[:2] <= centre).all() and (centre < box[2:]).all())


def _least_overlap(face: ClipFace) -> tuple[float, int]:
    """The least overlap of a detection with the one before it, and its frame; 1 where there is but one."""
    seen = np.flatnonzero(face.detected)
    overlaps = [intersection_over_union(face.boxes[a], face.boxes[b]) for a, b in pairwise(seen)]
    if not overlaps:
        return 1.0, 0
    lowest = int(np.argmin(overlaps))
    return overlaps[lowest], int(seen[lowest + 1])


def _longest_gap(detected: np.ndarray) -> int:
    edges = np.concatenate([[-1], np.flatnonzero(detected), [len(detected)]])
    return int(np.diff(edges).max()) - 1
