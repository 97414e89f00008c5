"""Rule of the single face: known faults in synthetic detections and the reasons of their rejection."""

import zipfile

import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.face.detection import Detection
from preprocess.step import Rejected
from preprocess.steps.single_face import (
    REASONS,
    SingleFace,
    SingleFaceRule,
    find_single_face,
    read_single_face,
    write_single_face,
)
from tests.unit.face.faces import detection

RULE = SingleFaceRule(resolution=90, other_score=0.85)  # the synthetic detections have a score of 0.9
NUM_FRAMES = 100


def face(i, x=200.0, side=100.0):
    return detection(x + 0.5 * i, 200, side)


def steady():
    return [[face(i)] for i in range(NUM_FRAMES)]


def without(*missing):
    return [[] if i in missing else [face(i)] for i in range(NUM_FRAMES)]


def scored(found, score):
    return Detection(found.box, score, found.anchors)


def passed(script, rule=RULE):
    face = find_single_face(script, rule)
    assert isinstance(face, SingleFace), face
    assert len(face) == len(script)
    return face


def rejected(script, rule=RULE):
    result = find_single_face(script, rule)
    assert isinstance(result, Rejected)
    assert result.reason in REASONS
    return result


def test_a_steady_face_is_accepted():
    found = passed(steady())
    assert np.allclose(found.boxes[:, 0], 150 + 0.5 * np.arange(NUM_FRAMES))
    assert np.allclose(found.anchors[:, 2], np.stack([200 + 0.5 * np.arange(100), np.full(100, 220)], axis=1))
    assert found.detected.all()
    assert np.allclose(found.scores, 0.9)
    assert found.boxes.dtype == found.anchors.dtype == found.scores.dtype == np.float32
    assert found.median_size == (100, 100)


class TestGaps:
    def test_a_short_gap_is_interpolated(self):
        script = [[] if 20 <= i < 30 else [face(i)] for i in range(NUM_FRAMES)]
        found = passed(script)
        assert np.allclose(found.anchors[:, 0, 0], 180 + 0.5 * np.arange(NUM_FRAMES), atol=1e-4)
        assert np.array_equal(np.flatnonzero(~found.detected), np.arange(20, 30))
        assert (found.scores[20:30] == 0).all()

    @pytest.mark.parametrize("start", [0, 40, NUM_FRAMES - 12])
    def test_twelve_frames_may_be_missing_anywhere_and_thirteen_not(self, start):
        rule = SingleFaceRule(resolution=90, min_detected=0.5)
        passed(without(*range(start, start + 12)), rule)
        first = min(start, NUM_FRAMES - 13)
        result = rejected(without(*range(first, first + 13)), rule)
        assert result.reason == "face_gaps"
        assert "longest gap 13 frames" in result.detail

    def test_the_first_and_last_box_are_repeated(self):
        found = passed(without(0, 1, 2, 97, 98, 99))
        assert np.allclose(found.boxes[:3], found.boxes[3])
        assert np.allclose(found.boxes[97:], found.boxes[96])

    def test_many_short_gaps_are_too_many(self):
        assert len(passed(without(*range(5, 100, 10)))) == NUM_FRAMES
        assert rejected(without(*range(5, 100, 7))).reason == "face_gaps"

    def test_a_face_that_leaves_and_comes_back(self):
        assert rejected(without(*range(30, 70))).reason == "face_gaps"

    def test_a_face_that_leaves(self):
        assert rejected(without(*range(60, 100))).reason == "face_gaps"


class TestOtherFaces:
    def test_two_people(self):
        result = rejected([[face(i), face(i, x=400, side=60)] for i in range(NUM_FRAMES)])
        assert result.reason == "several_faces"
        assert result.detail == "another face in 100 of 100 frames"

    def test_a_false_detection_in_five_frames_is_accepted_and_in_six_is_not(self):
        other = detection(450, 100, 40)
        assert rejected([[face(i), other] if i < 6 else [face(i)] for i in range(NUM_FRAMES)]).reason == "several_faces"
        passed([[face(i), other] if i < 5 else [face(i)] for i in range(NUM_FRAMES)])

    def test_scattered_false_detections_add_up(self):
        script = [[face(i), detection(50 + 5 * i, 90, 30)] if i % 10 == 0 else [face(i)] for i in range(NUM_FRAMES)]
        assert rejected(script).reason == "several_faces"

    def test_a_detection_of_low_score_does_not_count(self):
        passed([[face(i), scored(detection(450, 100), 0.8)] for i in range(NUM_FRAMES)])

    def test_the_score_separates_hands_from_a_second_person(self):
        for score, wanted in ((0.94, passed), (0.99, rejected)):
            hands = scored(detection(450, 100), score)
            wanted([[face(i), hands] for i in range(NUM_FRAMES)], SingleFaceRule(resolution=90))

    def test_two_detections_of_one_face_count_once(self):
        passed([[face(i), detection(210 + 0.5 * i, 205, 55)] for i in range(NUM_FRAMES)])

    def test_the_order_of_detections_does_not_matter(self):
        script = [[detection(450, 100, 40), face(i)] if i < 5 else [face(i)] for i in range(NUM_FRAMES)]
        other = [[face(i), detection(450, 100, 40)] if i < 5 else [face(i)] for i in range(NUM_FRAMES)]
        assert np.array_equal(passed(script).boxes, passed(other).boxes)


class TestJumps:
    def test_a_cut_to_the_same_person_a_little_aside(self):
        result = rejected([[face(i, x=200 if i < 50 else 280)] for i in range(NUM_FRAMES)])
        assert result.reason == "face_jumps"
        assert "at frame 50" in result.detail

    def test_a_cut_to_somebody_far_away(self):
        result = rejected([[face(i, x=200 if i < 60 else 500)] for i in range(NUM_FRAMES)])
        assert result.reason == "face_jumps"
        assert "the only face is another one in 40 of 100 frames" in result.detail

    def test_a_cut_to_a_close_up(self):
        assert rejected([[face(0, side=100 if i < 50 else 200)] for i in range(NUM_FRAMES)]).reason == "face_jumps"

    def test_glimpses_of_the_same_face_are_no_jump(self):
        script = [[face(i)] if i < 50 or i % 6 < 3 else [] for i in range(NUM_FRAMES)]
        assert rejected(script).reason == "face_gaps"


class TestSize:
    @staticmethod
    def boxed(width, height):
        box = np.array([150, 150, 150 + width, 150 + height], dtype=np.float32)
        return [[Detection(box, 0.99, detection(200, 200).anchors)]] * NUM_FRAMES

    def test_a_square_around_the_box_counts(self):
        passed(self.boxed(70, 90))
        passed(self.boxed(90, 70))
        result = rejected(self.boxed(80, 89))
        assert result.reason == "small_face"
        assert result.detail == "80 x 89 px, at least 90 px needed"
        assert result.facts == {"face_width": 80, "face_height": 89}

    def test_the_median_decides(self):
        passed([[face(0, side=70 if i < 40 else 95)] for i in range(NUM_FRAMES)])
        assert rejected([[face(0, side=70 if i < 60 else 95)] for i in range(NUM_FRAMES)]).reason == "small_face"


class TestNoFace:
    def test_nothing_at_all(self):
        assert rejected([[]] * NUM_FRAMES).reason == "no_face"
        assert rejected([]).reason == "no_face"

    def test_four_frames_are_a_false_detection(self):
        result = rejected([[face(i)] if i < 4 else [] for i in range(NUM_FRAMES)])
        assert result.reason == "no_face"
        assert result.detail == "a face in 4 of 100 frames, none tracked"


@pytest.mark.parametrize(
    "wrong",
    [{"resolution": 0}, {"max_gap": -1}, {"max_other_frames": -1}, {"min_detected": 1.1}, {"min_overlap": -0.1},
     {"other_score": 2.0}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* is out of range"):
        SingleFaceRule(**wrong)


def some_face(n=7):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 500, (n, *shape)).astype(np.float32) for shape in ((4,), (3, 2), ())]
    return SingleFace(*arrays, rng.random(n) > 0.3)


def test_a_written_face_is_read_unchanged(tmp_path):
    face = some_face()
    write_single_face(tmp_path / "a.npz", face)
    again = read_single_face(tmp_path / "a.npz")
    assert len(again) == 7
    for name in ("boxes", "anchors", "scores", "detected"):
        assert np.array_equal(getattr(again, name), getattr(face, name))
        assert getattr(again, name).dtype == getattr(face, name).dtype


def test_the_bytes_do_not_depend_on_when_or_where(tmp_path, monkeypatch):
    write_single_face(tmp_path / "a.npz", some_face())
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_single_face(tmp_path / "other.npz", some_face())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_doubles_are_stored_as_floats(tmp_path):
    face = some_face()
    write_single_face(tmp_path / "a.npz", face)
    write_single_face(
        tmp_path / "b.npz", SingleFace(face.boxes.astype(float), face.anchors, face.scores, face.detected)
    )
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_arrays_of_unlike_length_are_not_written(tmp_path):
    face = some_face()
    with pytest.raises(ValueError, match="anchors of a face track has shape"):
        write_single_face(tmp_path / "a.npz", SingleFace(face.boxes, face.anchors[:3], face.scores, face.detected))
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_errors(tmp_path):
    whole = tmp_path / "whole.npz"
    write_single_face(whole, some_face())
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "pickled.npz", boxes=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "other.npz", boxes=np.zeros((3, 4)))
    np.savez(tmp_path / "uneven.npz", **{**vars(some_face()), "scores": np.zeros(2)})
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    names = ["cut", "empty", "text", "pickled", "other", "uneven", "array", "missing"]
    for name in names:
        with pytest.raises(InputError, match=f"{name}.npz is not a face track that can be read: run step 5 again"):
            read_single_face(tmp_path / f"{name}.npz")
