import cv2
import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.face.face_plan import FacePlan, plan_face, raw_plan
from latentsync.face.smoothing import jitter
from tests.unit.face.faces import FRAME_SIZE, ScriptedDetector, detection


def scene(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, FRAME_SIZE, interpolation=cv2.INTER_CUBIC)


def still(num_frames, seed=1):
    picture = scene(seed)
    return (picture for _ in range(num_frames))


def two_scenes(first, second):
    yield from still(first, 1)
    yield from still(second, 2)


def test_one_face_all_along_is_one_segment():
    done = []
    detector = ScriptedDetector([[detection(200 + i, 200)] for i in range(21)])
    plan = plan_face(still(21), detector, batch_size=8, progress=done.append)
    assert plan.segments() == [(0, 21)]
    assert detector.batches == [8, 8, 5]
    assert done == [8, 16, 21]
    assert plan.anchors.shape == (21, 3, 2)
    assert plan.anchors.dtype == np.float32
    assert plan.segment.dtype == np.int32
    assert np.allclose(plan.anchors[:, 2], np.stack([200 + np.arange(21), np.full(21, 220)], axis=1), atol=1e-3)


def test_short_gaps_are_filled_and_long_ones_split():
    script = [[detection(200 + i, 200)] if i not in (5, 6, 7) and not 20 <= i < 32 else [] for i in range(50)]
    plan = raw_plan(still(50), ScriptedDetector(script))
    assert plan.segments() == [(0, 20), (32, 50)]
    assert np.allclose(plan.anchors[:20, 2, 0], 200 + np.arange(20), atol=1e-3)
    assert np.isnan(plan.anchors[20:32]).all()
    assert (plan.segment[20:32] == -1).all()


def test_a_cut_splits_and_smoothing_starts_anew():
    script = [[detection(200, 200)]] * 12 + [[detection(230, 210)]] * 14
    plan = plan_face(two_scenes(12, 14), ScriptedDetector(script))
    assert plan.segments() == [(0, 12), (12, 26)]
    assert np.allclose(plan.anchors[:12, 2], [200, 220], atol=1e-3)
    assert np.allclose(plan.anchors[12:, 2], [230, 230], atol=1e-3)


def test_exact_rounds_the_anchors_and_smooths_nothing():
    trembling = [detection(200 + 3 * (i % 2) + 0.3, 200.7) for i in range(20)]
    plan = plan_face(still(20), ScriptedDetector([[face] for face in trembling]), exact=True)
    assert np.array_equal(plan.anchors, np.round([face.anchors for face in trembling]))
    smooth = plan_face(still(20), ScriptedDetector([[face] for face in trembling]))
    assert np.abs(smooth.anchors - plan.anchors).max() > 1


def test_every_scene_follows_its_own_choice():
    left, right, large = detection(150, 200), detection(450, 200), detection(300, 200, 200)
    script = [[left, right]] * 10 + [[large]] * 10
    plan = plan_face(two_scenes(10, 10), ScriptedDetector(script), selector="1")
    assert plan.segments() == [(0, 10)]
    plan = plan_face(two_scenes(10, 10), ScriptedDetector(script), selector="right")
    assert plan.segments() == [(0, 10), (10, 20)]
    assert plan.anchors[0, 2, 0] == pytest.approx(450, abs=1e-3)


def test_a_larger_stranger_does_not_take_over():
    """The followed face is a track, not the largest box of each frame."""
    face, stranger = detection(200, 200, 120), detection(450, 200, 150)
    plan = raw_plan(still(40), ScriptedDetector([[face, stranger] if 10 <= i < 18 else [face] for i in range(40)]))
    assert plan.segments() == [(0, 40)]
    assert np.ptp(plan.anchors[:, 2, 0]) == 0


def test_tremble_is_smoothed():
    rng = np.random.default_rng(0)
    script = [[detection(*(np.array([200, 200]) + rng.normal(0, 1.5, 2)))] for _ in range(60)]
    raw = raw_plan(still(60), ScriptedDetector(script))
    assert jitter(raw.smoothed().anchors) < 0.2 * jitter(raw.anchors)


def test_no_face_gives_an_empty_plan():
    plan = plan_face(still(9), ScriptedDetector([[]] * 9))
    assert len(plan) == 9
    assert plan.segments() == []


def test_no_frames_give_no_plan():
    plan = plan_face(iter(()), ScriptedDetector([]))
    assert len(plan) == 0
    assert plan.segments() == []


def test_a_selector_that_means_nobody_is_an_error():
    with pytest.raises(InputError, match="matches none"):
        plan_face(still(9), ScriptedDetector([[detection(200, 200)]] * 9), selector="4")


def test_a_wrong_selector_is_told_before_detection():
    detector = ScriptedDetector([[detection(200, 200)]] * 9)
    with pytest.raises(InputError, match="lies outside"):
        plan_face(still(9), detector, selector="1000,10")
    assert detector.batches == []


def test_frames_are_taken_one_batch_at_a_time():
    taken = []

    def counted():
        for i, frame in enumerate(still(20)):
            taken.append(i)
            yield frame

    class Watching(ScriptedDetector):
        def detect(self, frames):
            assert len(taken) == sum(self.batches) + len(frames)
            return super().detect(frames)

    plan_face(counted(), Watching([[detection(200, 200)]] * 20), batch_size=4)
    assert len(taken) == 20


def test_segments_touching_each_other_stay_apart():
    plan = FacePlan(np.zeros((6, 3, 2), np.float32), np.array([-1, 0, 0, 1, 1, -1], np.int32))
    assert plan.segments() == [(1, 3), (3, 5)]
