"""Frames in which another head is in front of the mouth."""

import numpy as np

from latentsync.face.covered import covered_frames
from latentsync.face.detection import Detection
from latentsync.face.tracker import Track


def track(xs: list[float | None], size: float, scene: int = 0) -> Track:
    """Return a track with the face at these columns; None where it is not found."""
    made = Track(scene)
    for frame, x in enumerate(xs):
        if x is not None:
            box = np.array([x, 100, x + size, 100 + 1.4 * size], dtype=np.float32)
            made.append(frame, Detection(box, 0.99, np.zeros((3, 2), dtype=np.float32)))
    return made


STILL = track([200.0] * 40, 60)


def passing(size: float, scene: int = 0) -> Track:
    return track([20.0 * frame - 200 for frame in range(40)], size, scene)


def test_a_nearer_head_that_passes_covers_the_mouth_for_a_while():
    covered = covered_frames([STILL], [STILL, passing(80)], 40)
    assert 3 <= covered.sum() <= 10
    assert covered[20]
    assert not covered[:15].any()
    assert not covered[27:].any()


def test_a_head_behind_covers_nothing():
    near = passing(80)
    assert not covered_frames([near], [STILL, near], 40).any()
    assert not covered_frames([STILL], [STILL, passing(50)], 40).any()


def test_a_face_that_is_lost_while_another_passes_is_behind():
    lost = track([None if 18 <= frame < 23 else 200.0 for frame in range(40)], 60)
    covered = covered_frames([lost], [lost, passing(50)], 40)
    assert covered[18:23].all()
    assert covered.sum() == 5


def test_other_scenes_and_second_detections_of_the_same_head_do_not_count():
    twice = track([195.0] * 40, 70)
    assert not covered_frames([STILL], [STILL, twice], 40).any()
    assert not covered_frames([STILL], [STILL, passing(80, scene=1)], 40).any()
