"""Full detection of few frames, and following in between."""

from dataclasses import replace

import numpy as np
import pytest

from latentsync.face.face_plan import raw_plan
from latentsync.face.sparse_detection import SparseDetector
from tests.unit.face.faces import FRAME_SIZE, detection

INTERVAL = 6
SMALL = (FRAME_SIZE[0] // 2, FRAME_SIZE[1] // 2)


class Scene:
    """A `FollowingDetector` for frames whose first pixels hold their number; faces are functions of that number.

    A face is followed where it overlaps the given box, unless its frame is in `lost`, and measured where the box is
    that of the face, unless it is in `blurred`.
    """

    longest_side, score = max(FRAME_SIZE), 0.99

    def __init__(self, *faces, lost=(), blurred=()):
        self.faces, self.lost, self.blurred = faces, set(lost), {*lost, *blurred}
        self.full, self.near, self.measured = [], [], []

    def _truth(self, frame):
        found = (face(number_of(frame)) for face in self.faces)
        return [replace(face, score=self.score) for face in found if face is not None]

    def detect(self, frames):
        self.full += [number_of(frame) for frame in frames]
        return [self._truth(frame) for frame in frames]

    def follow(self, frames, boxes):
        self.near += [number_of(frame) for frame in frames]
        return [
            [None if number_of(frame) in self.lost else self._near(frame, box) for box in given]
            for frame, given in zip(frames, boxes, strict=True)
        ]

    def measure(self, frames, boxes):
        self.measured += [number_of(frame) for frame in frames]
        return [
            [None if number_of(frame) in self.blurred else self._near(frame, box, 1 / 50) for box in given]
            for frame, given in zip(frames, boxes, strict=True)
        ]

    def _near(self, frame, box, share=1 / 3):
        reach = (box[2] - box[0]) * share
        near = [face for face in self._truth(frame) if np.abs(face.box - box).max() < reach]
        return near[0] if near else None


class FullOnly:
    """The same without `follow`."""

    def __init__(self, *faces):
        self.detect = Scene(*faces).detect


def numbered(num_frames, size=(64, 48)):
    """Return flat frames that hold their numbers; no cuts."""
    frames = np.full((num_frames, size[1], size[0], 3), 90, dtype=np.uint8)
    for i, frame in enumerate(frames):
        frame[0, 0] = divmod(i, 256)[0], i % 256, 0
    return list(frames)


def number_of(frame):
    return int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1])


def during(start, stop, x=200.0, speed=0.0, side=100.0):
    return lambda i: detection(x + speed * i, 200, side) if start <= i < stop else None


def detections(scene, num_frames=40, batch_size=12, cuts=(), interval=INTERVAL):
    sparse, frames, found = SparseDetector(scene, interval), numbered(num_frames), []
    for start in range(0, num_frames, batch_size):
        batch = frames[start : start + batch_size]
        found += sparse.detect(batch, [start + i in cuts for i in range(len(batch))])
    return found


def plans(*faces, selector="largest", size=(64, 48)):
    """Return the plans by following and by full detection of every frame, and the scene that was followed."""
    scene, frames = Scene(*faces), numbered(60, size)
    sparse = raw_plan(frames, scene, selector, 12, interval=INTERVAL)
    full = raw_plan(frames, FullOnly(*faces), selector, 12)
    return sparse, full, scene


def test_one_steady_face_is_fully_detected_in_every_twelfth_frame_and_followed_or_measured_in_turn_in_the_others():
    scene = Scene(during(0, 40, speed=3))
    found = detections(scene)
    assert [len(faces) for faces in found] == [1] * 40
    assert [float(faces[0].anchors[2, 0]) for faces in found] == [200 + 3 * i for i in range(40)]
    assert scene.full == [0, 11, 23, 35, 39]
    assert scene.measured == [*range(1, 11, 2), *range(12, 23, 2), *range(24, 35, 2), 36, 38]
    assert sorted(scene.full + scene.near + scene.measured) == list(range(40))


@pytest.mark.parametrize("faces", [[during(0, 40), during(0, 40, x=450)], [during(0, 40), during(9, 13, x=450)]])
def test_with_several_faces_full_detections_are_twice_as_dense(faces):
    scene = Scene(*faces)
    detections(scene)
    assert set(scene.full) >= {0, 5, 11, 17}


def test_an_uncertain_face_has_dense_full_detections():
    scene = Scene(during(0, 40))
    scene.score = 0.8
    detections(scene)
    assert sorted(scene.full) == [0, 5, 11, 17, 23, 29, 35, 39]


def test_a_face_that_cannot_be_measured_is_followed():
    scene = Scene(during(0, 40), blurred={1, 3})
    assert [len(faces) for faces in detections(scene)] == [1] * 40
    assert {1, 3} <= set(scene.near)
    assert not {1, 3} & set(scene.full)


@pytest.mark.parametrize("detector", [FullOnly(during(0, 40)), Scene(during(0, 40))])
def test_interval_one_and_detectors_without_follow_detect_every_frame_fully(detector):
    found = detections(detector, interval=1 if isinstance(detector, Scene) else INTERVAL)
    assert [len(faces) for faces in found] == [1] * 40
    assert getattr(detector, "near", []) == []


def test_both_frames_at_a_cut_are_fully_detected_and_no_face_is_followed_across_it():
    scene = Scene(during(0, 15), during(15, 40, x=450))
    found = detections(scene, cuts={15})
    assert {14, 15} <= set(scene.full)
    assert [float(faces[0].anchors[2, 0]) for faces in found] == [200] * 15 + [450] * 25


def test_successive_cuts_and_batches_of_one_frame_are_accepted():
    for batch_size in (1, 2, 3, 12):
        scene = Scene(during(0, 40))
        found = detections(scene, batch_size=batch_size, cuts={0, 4, 5, 6, 12, 39})
        assert [len(faces) for faces in found] == [1] * 40
        assert len(set(scene.full)) == len(scene.full)


def test_a_lost_face_is_searched_in_the_whole_frame():
    scene = Scene(during(0, 40), lost={8, 9})
    found = detections(scene)
    assert {8, 9} <= set(scene.full)
    assert [len(faces) for faces in found] == [1] * 40


def test_an_uncertain_face_that_is_lost_needs_no_full_detection():
    scene = Scene(during(0, 40), lost={8, 9})
    scene.score = 0.8
    assert [i for i, faces in enumerate(detections(scene)) if not faces] == [8, 9]
    assert not {8, 9} & set(scene.full)


def test_a_sudden_move_between_two_detections_is_found_by_full_detection():
    scene = Scene(lambda i: detection(260 if 7 <= i < 10 else 200, 200))
    found = detections(scene)
    assert [float(found[i][0].anchors[2, 0]) for i in (6, 7, 9, 10)] == [200, 260, 260, 200]


def test_an_occluded_face_is_absent_in_the_same_frames_as_with_full_detection():
    sparse, full, scene = plans(lambda i: None if 20 <= i < 32 else detection(200, 200))
    assert sparse.segments() == full.segments() == [(0, 20), (32, 60)]
    assert len(scene.full) < 20


def test_a_face_that_enters_and_leaves_slowly_has_the_segment_of_full_detection():
    sparse, full, _ = plans(during(15, 45, speed=2))
    assert sparse.segments() == full.segments() == [(15, 45)]
    assert np.array_equal(sparse.anchors, full.anchors, equal_nan=True)


def test_a_face_that_enters_and_leaves_fast_is_found_within_an_interval():
    sparse, full, _ = plans(during(15, 45, x=-300, speed=15), during(0, 60, x=500, side=30))
    ((start, stop),) = full.segments()
    ((late, early),) = sparse.segments()
    assert start <= late < start + INTERVAL
    assert stop - INTERVAL < early <= stop


@pytest.mark.parametrize("selector", ["largest", "left", "right", "0", "1", "450,200"])
def test_the_selected_face_is_that_of_full_detection(selector):
    people = during(0, 60, x=150), during(9, 60, x=450, speed=-0.5, side=90), during(30, 33, x=300, side=200)
    sparse, full, scene = plans(*people, selector=selector, size=FRAME_SIZE if "," in selector else (64, 48))
    assert sparse.segments() == full.segments()
    assert np.array_equal(sparse.anchors, full.anchors, equal_nan=True)
    assert len(scene.full) < 20


def test_two_followed_faces_that_become_one_are_one_face():
    merging = during(0, 40), lambda i: detection(200 if 6 < i < 11 else 230, 200)
    assert [len(faces) for faces in detections(Scene(*merging))[7:11]] == [1] * 4


def test_the_plan_of_reduced_frames_refers_to_the_video():
    """Anchors count from pixel centres: x in the reduced frame is 2 x + 0.5 in one twice as large."""
    small = raw_plan(numbered(20, SMALL), Scene(during(0, 20)), "400,400", 12, frame_size=FRAME_SIZE)
    assert np.allclose(small.anchors[:, 2], [400.5, 440.5])
