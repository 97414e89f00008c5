"""Step 5 on files: input, output, and the real detector on a synthetic person."""

import json
import pickle

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError, InputError
from latentsync.media.writer import VideoWriter
from preprocess.step import Clip, Done, Rejected
from preprocess.steps.single_face import read_single_face
from preprocess.steps.step_5_faces import FacesConfig, FacesStep, filter_faces
from tests.unit.face.faces import ScriptedDetector, detection
from tests.unit.preprocess.face_clips import anchors, write_segment

NUM_FRAMES = 21


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_segment(tmp_path_factory.mktemp("segments") / "a.mp4", anchors(NUM_FRAMES))
    return Clip(key="a", source="a", name="a", path=path)


def script():
    return [[detection(80 + i, 80)] if i != 7 else [] for i in range(NUM_FRAMES)]


def test_the_clip_is_unchanged_and_its_face_is_stored(clip, tmp_path):
    before = clip.path.read_bytes()
    detector = ScriptedDetector(script())
    result = filter_faces(FacesConfig(resolution=64), detector, "mtcnn", clip, tmp_path)
    assert isinstance(result, Done)
    (output,) = result.outputs
    assert output.file is None
    assert output.suffix == ""
    assert output.facts == {
        "segment": str(clip.path), "face_width": 100.0, "face_height": 100.0, "face_detector": "mtcnn",
    }  # fmt: skip
    json.dumps(dict(output.facts))
    face = read_single_face(output.sidecars["faces"])
    assert len(face) == NUM_FRAMES
    assert np.flatnonzero(~face.detected).tolist() == [7]
    assert np.allclose(face.boxes[:, 0], 30 + np.arange(NUM_FRAMES))
    assert [path.name for path in tmp_path.iterdir()] == ["faces.npz"]
    assert clip.path.read_bytes() == before
    assert max(detector.batches) <= 8
    assert sum(detector.batches) == NUM_FRAMES


def test_again_gives_the_same_bytes(clip, tmp_path):
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        filter_faces(FacesConfig(resolution=64), ScriptedDetector(script()), "mtcnn", clip, tmp_path / name)
        written.append((tmp_path / name / "faces.npz").read_bytes())
    assert written[0] == written[1]


def test_a_rejected_clip_leaves_nothing_behind(clip, tmp_path):
    result = filter_faces(FacesConfig(resolution=256), ScriptedDetector(script()), "mtcnn", clip, tmp_path)
    assert isinstance(result, Rejected)
    assert result.reason == "small_face"
    assert list(tmp_path.iterdir()) == []


def test_a_synthetic_person_passes_with_the_real_detector(tmp_path):
    clip_module = pytest.importorskip("demo.synthetic.clip")
    noise = np.random.default_rng(0).standard_normal(16000 * 8 // 25).astype(np.float32) * 0.05
    person = clip_module.TalkingClip(5, 0, 0.3, speech=noise, frame_size=256)
    path = tmp_path / "person.mp4"
    with VideoWriter(path, 256, 256, 25, crf=10) as video:
        for frame in person.frames(1):
            video.write(frame)
    step = FacesStep(FacesConfig(resolution=48, detector="mtcnn"))
    (tmp_path / "work").mkdir()
    process = step.load(torch.device("cpu"))
    result = process(Clip(key="p", source="p", name="p", path=path), tmp_path / "work")
    assert isinstance(result, Done), result
    face = read_single_face(result.outputs[0].sidecars["faces"])
    truth = person.anchors()
    across = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1).mean()
    assert len(face) == len(truth)
    assert np.abs(face.anchors - truth).max() < 0.2 * across


class TestStep:
    def test_it_is_picklable(self):
        step = FacesStep(FacesConfig(resolution=128))
        assert pickle.loads(pickle.dumps(step)) == step

    def test_mtcnn_needs_no_weights(self):
        assert FacesStep(FacesConfig(detector="mtcnn")).weights() == []

    def test_face_alignment_needs_both_files(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr("preprocess.steps.step_5_faces._AUXILIARY", tmp_path)
        assert FacesStep().weights() == []
        step = FacesStep(FacesConfig(detector="face_alignment"))
        (tmp_path / "s3fd-619a316812.pth").write_bytes(b"1")
        with pytest.raises(CheckpointError, match=r"step 5 lacks 2DFAN4-cd938726ad\.zip: run python -m"):
            step.weights()
        (tmp_path / "2DFAN4-cd938726ad.zip").write_bytes(b"2")
        both = [tmp_path / "s3fd-619a316812.pth", tmp_path / "2DFAN4-cd938726ad.zip"]
        assert step.weights() == FacesStep().weights() == both

    def test_an_unknown_detector_is_an_error(self):
        with pytest.raises(InputError, match="unknown face detector 'dlib'"):
            FacesStep(FacesConfig(detector="dlib")).weights()
