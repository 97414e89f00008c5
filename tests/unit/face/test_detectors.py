"""The same cases for every face detector, and cases of each one."""

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError, InputError
from latentsync.face.detector import build_detector
from latentsync.face.landmarks68 import Landmarks68Detector, anchors_from_68, find_box_weights, missing_weights
from latentsync.face.mtcnn import MtcnnDetector, anchors_from_five
from latentsync.face.tracker import intersection_over_union
from latentsync.weights import AUXILIARY
from tests.repository_copy import is_stand_in


@pytest.fixture(scope="module")
def portrait():
    """A synthetic person's frame (512, 512, 3) and the true anchors (3, 2)."""
    clip_module = pytest.importorskip("demo.synthetic.clip")
    noise = np.random.default_rng(0).standard_normal(3200).astype(np.float32) * 0.05
    clip = clip_module.TalkingClip(5, 0, 0.2, speech=noise)
    return next(iter(clip.frames(1))), clip.anchors()[0]


@pytest.fixture(scope="module", params=["mtcnn", "face_alignment"])
def detector(request):
    if request.param == "face_alignment":
        if missing := missing_weights(AUXILIARY):
            pytest.skip(f"face_alignment's weights are not here: {', '.join(missing)}")
        if is_stand_in(find_box_weights(AUXILIARY)):
            pytest.skip("face_alignment's weights are stand-ins")
    return build_detector(request.param, torch.device("cpu"), AUXILIARY)


class TestEveryBackEnd:
    def test_a_face_is_found_where_it_is(self, detector, portrait):
        frame, truth = portrait
        (faces,) = detector.detect([frame])
        assert len(faces) == 1
        assert faces[0].score > 0.7
        assert faces[0].box.shape == (4,)
        assert faces[0].box.dtype == faces[0].anchors.dtype == np.float32
        across = np.linalg.norm(truth[1] - truth[0])
        assert np.abs(faces[0].anchors - truth).max() < 0.2 * across
        assert (faces[0].box[:2] < truth.min(axis=0)).all()
        assert (faces[0].box[2:] > truth.max(axis=0)).all()

    def test_coordinates_are_those_of_the_frame_given(self, detector, portrait):
        frame, truth = portrait
        large = np.zeros((1100, 1900, 3), dtype=np.uint8)
        large[500:1012, 1000:1512] = frame
        (faces,) = detector.detect([large])
        assert np.abs(faces[0].anchors - truth - [1000, 500]).max() < 0.2 * np.linalg.norm(truth[1] - truth[0])

    def test_no_face_is_found_in_grey_and_noise(self, detector):
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        assert detector.detect([np.full((240, 320, 3), 90, dtype=np.uint8), noise]) == [[], []]

    def test_no_frames_give_no_lists(self, detector):
        assert detector.detect([]) == []

    def test_a_batch_equals_single_frames_in_order(self, detector, portrait):
        frame, _ = portrait
        frames = [frame, np.zeros_like(frame), frame[:, ::-1]]
        together = detector.detect(frames)
        assert [len(faces) for faces in together] == [1, 0, 1]
        for alone, faces in zip((detector.detect([single])[0] for single in frames), together, strict=True):
            for one, other in zip(alone, faces, strict=True):
                assert np.allclose(one.anchors, other.anchors, atol=0.05)

    def test_two_faces_in_one_frame(self, detector, portrait):
        frame, _ = portrait
        (faces,) = detector.detect([np.concatenate([frame, frame[:, ::-1]], axis=1)])
        assert len(faces) == 2
        left, right = sorted(faces, key=lambda face: face.box[0])
        assert left.box[2] < 512 < right.box[0]

    def test_tiny_and_thin_frames_are_accepted(self, detector):
        for shape in ((1, 1, 3), (8, 400, 3), (30, 20, 3)):
            assert detector.detect([np.zeros(shape, dtype=np.uint8)]) == [[]]

    def test_a_face_cut_off_by_the_border_is_found(self, detector, portrait):
        frame, truth = portrait
        nose = int(truth[2, 0])
        for part in (frame[:, nose:], frame[:, :nose], frame[int(truth[2, 1]) :]):
            assert len(detector.detect([part])) == 1


def test_most_frames_of_real_clips_show_one_steady_face(real_clips):
    from latentsync.media.reader import VideoReader

    detector = MtcnnDetector()
    for path in sorted(real_clips.glob("*.mp4")):
        with VideoReader(path, max_frames=4) as frames:
            found = detector.detect(list(frames))
        assert sum(bool(faces) for faces in found) >= 3, path


def test_a_followed_face_is_the_one_that_full_detection_finds(portrait):
    frame, _ = portrait
    detector = MtcnnDetector()
    frames = [frame, np.roll(frame, 12, axis=1), np.zeros_like(frame)]
    (face,), (moved,), _ = detector.detect(frames)
    (near, far), (followed,), (nothing,) = detector.follow(
        frames, [np.stack([face.box + 8, face.box + 400]), moved.box[None] - 8, face.box[None]]
    )
    assert far is None
    assert nothing is None
    for found, full in ((near, face), (followed, moved)):
        assert np.abs(found.anchors - full.anchors).max() < 1
    assert detector.follow(frames[:1], [np.empty((0, 4))]) == [[]]
    (near, far), (measured,), (nothing,) = detector.measure(
        frames, [np.stack([face.box + 3, face.box + 400]), moved.box[None] - 3, face.box[None]]
    )
    assert far is None
    assert nothing is None
    for found, full in ((near, face), (measured, moved)):
        assert np.abs(found.anchors - full.anchors).max() < 2
        assert intersection_over_union(found.box, full.box) > 0.85
    assert detector.measure(frames[:1], [np.empty((0, 4))]) == [[]]


def test_five_points_turn_with_the_head():
    points = np.array([[100.0, 100.0], [200.0, 100.0], [150.0, 150.0], [110.0, 200.0], [190.0, 200.0]])
    upright = anchors_from_five(points)
    assert np.allclose(upright, [[91, 68], [209, 68], [150, 147]])
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.allclose(anchors_from_five(points @ turn.T), upright @ turn.T, atol=1e-4)


def test_68_points_are_averaged_by_index():
    points = np.zeros((68, 2))
    points[17:22], points[22:27], points[27:36] = [10, 20], [30, 20], [20, 40]
    assert np.array_equal(anchors_from_68(points), np.array([[10, 20], [30, 20], [20, 40]], dtype=np.float32))


class FakeNetworks:
    """Two boxes in the reduced frame, the lower score first; every landmark at its box's corner plus its index."""

    def boxes(self, images):
        assert images.shape[1:] == (3, 360, 640)
        return [np.array([[10, 20, 50, 60, 0.6], [100, 120, 180, 200, 0.9]]), np.empty(0)]

    def landmarks(self, frame, boxes):
        assert frame.shape == (1080, 1920, 3)
        return boxes[:, None, :2] + np.arange(68)[None, :, None]


def test_68_points_come_from_the_full_frame_with_the_best_face_first():
    frames = [np.zeros((1080, 1920, 3), dtype=np.uint8)] * 2
    faces, nothing = Landmarks68Detector(networks=FakeNetworks()).detect(frames)
    assert nothing == []
    assert [face.score for face in faces] == [0.9, 0.6]
    assert np.allclose(faces[0].box, [300, 360, 540, 600])
    assert np.allclose(faces[0].anchors, np.array([[300, 360]]) + np.array([[19], [24], [31]]))


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_boxes_are_found_in_whole_frames_on_request():
    seen = []

    class NothingFound(FakeNetworks):
        def boxes(self, images):
            seen.append(tuple(images.shape))
            return [np.empty((0, 5))]

    detector = Landmarks68Detector(networks=NothingFound())
    for chosen in (detector, detector.in_whole_frames()):
        assert chosen.detect([np.zeros((1080, 1920, 3), dtype=np.uint8)]) == [[]]
    assert seen == [(1, 3, 360, 640), (1, 3, 1080, 1920)]


def test_auto_selects_mtcnn_without_weights(no_cache):
    assert isinstance(build_detector("auto", "cpu", no_cache), MtcnnDetector)


def test_face_alignment_without_weights_names_the_files(no_cache):
    with pytest.raises(CheckpointError, match=r"s3fd-619a316812\.pth and 2DFAN4-cd938726ad\.zip.*mtcnn"):
        build_detector("face_alignment", "cpu", no_cache)


def test_face_alignment_with_broken_weights_is_reported_in_one_line(no_cache):
    for name in ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip"):
        (no_cache / name).write_bytes(b"not weights")
    assert missing_weights(no_cache) == []
    with pytest.raises(CheckpointError, match="cannot load") as error:
        build_detector("auto", "cpu", no_cache)
    assert "\n" not in str(error.value)


def test_an_unknown_detector_is_rejected():
    with pytest.raises(InputError, match="unknown face detector 'dlib'"):
        build_detector("dlib")
