"""Face boxes: S3FD's network and decoding with made-up weights, and what stands in for it."""

import logging

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError, InputError
from latentsync.face.detector import Detection
from latentsync.face.sfd import MtcnnBoxDetector, SfdBoxDetector, build_box_detector

WEIGHTS = "s3fd-619a316812.pth"


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def shapes():
    from face_alignment.detection.sfd.net_s3fd import s3fd

    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in s3fd().state_dict().items()}


def write_weights(folder, shapes, face_logit):
    """All zero, but each place of the coarsest level says a face with that logit, each place of the others none.

    Tensors of one repeated zero keep the file small.
    """
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        if name.endswith("mbox_conf.bias"):
            is_coarsest = name.startswith("conv7_2")
            background = [0.0] * (shape[0] - 1)
            state[name] = torch.tensor([*background, face_logit if is_coarsest else -20.0])
    torch.save(state, folder / WEIGHTS)


def overlap(a, b):
    shared = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def test_boxes_of_the_quarter_size_come_back_in_frame_pixels(no_cache, shapes):
    write_weights(no_cache, shapes, face_logit=3.0)
    detector = SfdBoxDetector("cpu", no_cache)
    frames = [np.zeros((128, 1152, 3), dtype=np.uint8)] * 2
    first, second = detector.boxes(frames)
    assert detector.name == "sfd"
    assert first.dtype == np.float32
    assert np.array_equal(first, second)
    assert np.allclose(first[:, 4], 1 / (1 + np.exp(-3.0)), atol=1e-6)
    # the coarsest level has a place every 128 px from 64 px on, and boxes of 512 px, at a quarter of the size
    centres = (first[:, :2] + first[:, 2:4]) / 2
    assert np.allclose(first[:, 2:4] - first[:, :2], 4 * 512)
    assert np.allclose((centres / 4 - 64) % 128, 0)
    assert len(first) >= 2
    assert all(overlap(a, b) <= 0.31 for i, a in enumerate(first[:, :4]) for b in first[:i, :4])


def test_detections_below_the_score_are_dropped(no_cache, shapes):
    write_weights(no_cache, shapes, face_logit=2.0)  # a score of 0.88
    frame = np.zeros((128, 128, 3), dtype=np.uint8)
    (published,) = SfdBoxDetector("cpu", no_cache).boxes([frame])
    (milder,) = SfdBoxDetector("cpu", no_cache, min_score=0.8).boxes([frame])
    assert published.shape == (0, 5)
    assert len(milder) == 1


def test_tiny_frames_and_no_frames_are_no_trouble(no_cache, shapes):
    write_weights(no_cache, shapes, face_logit=-20.0)
    detector = SfdBoxDetector("cpu", no_cache)
    assert detector.boxes([]) == []
    for shape in ((1, 1, 3), (8, 400, 3), (30, 20, 3)):
        (found,) = detector.boxes([np.zeros(shape, dtype=np.uint8)])
        assert found.shape == (0, 5)


class TestBuildBoxDetector:
    def test_auto_takes_sfd_where_its_weights_are(self, no_cache, shapes, caplog):
        write_weights(no_cache, shapes, face_logit=0.0)
        assert build_box_detector("auto", "cpu", no_cache).name == "sfd"
        assert not caplog.records

    def test_auto_falls_back_to_mtcnn_and_says_so(self, no_cache, caplog):
        with caplog.at_level(logging.WARNING):
            detector = build_box_detector("auto", "cpu", no_cache)
        assert detector.name == "mtcnn"
        assert "face tracks come from MTCNN's boxes" in caplog.text

    def test_mtcnn_asked_for_needs_no_warning(self, no_cache, caplog):
        assert build_box_detector("mtcnn", "cpu", no_cache).name == "mtcnn"
        assert not caplog.records

    def test_sfd_without_weights_names_the_file(self, no_cache):
        with pytest.raises(CheckpointError, match=r"lacks s3fd-619a316812\.pth.*use mtcnn"):
            build_box_detector("sfd", "cpu", no_cache)

    @pytest.mark.parametrize("content", [b"not weights", b""])
    def test_broken_weights_are_told_in_one_line(self, no_cache, content):
        (no_cache / WEIGHTS).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot load") as error:
            build_box_detector("auto", "cpu", no_cache)
        assert "\n" not in str(error.value)

    def test_an_unknown_detector_is_told(self):
        with pytest.raises(InputError, match="unknown box detector 'dlib'"):
            build_box_detector("dlib")


def test_mtcnn_boxes_are_sure_ones_best_first(monkeypatch):
    detector = MtcnnBoxDetector("cpu")

    def scripted(frames):
        scores = [0.95, 0.85, 0.99]
        return [[Detection(np.full(4, score, dtype=np.float32), score, np.zeros((3, 2))) for score in scores], []]

    monkeypatch.setattr(detector._detector, "detect", scripted)
    sure, nothing = detector.boxes([np.zeros((8, 8, 3), dtype=np.uint8)] * 2)
    assert sure.dtype == np.float32
    assert np.allclose(sure[:, 4], [0.99, 0.95])
    assert np.allclose(sure[:, 0], [0.99, 0.95])
    assert nothing.shape == (0, 5)
