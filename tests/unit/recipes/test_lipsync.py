"""Which detector the option `exact` gets, and what is refused before any network is loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from latentsync.errors import CheckpointError
from latentsync.face.landmarks68 import Landmarks68Detector
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes import lipsync
from latentsync.recipes.lipsync import LipsyncBuild, check_exact, result_settings
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT

EXACT = LipsyncOptions(exact=True, overlap_frames=0)


def build(detector: str) -> LipsyncBuild:
    config, unet = REPOSITORY_ROOT / "configs" / "demo" / "unet.yaml", CHECKPOINTS / "demo" / "latentsync_unet.pt"
    return LipsyncBuild(config, unet, torch.device("cpu"), torch.float32, detector)


@pytest.fixture
def auxiliary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder where weights are looked for, empty."""
    monkeypatch.setattr(lipsync, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "auxiliary").mkdir()
    return tmp_path / "auxiliary"


def test_exact_without_the_landmark_weights_is_refused_by_their_names(auxiliary: Path):
    names = ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip")
    with pytest.raises(CheckpointError, match=f"--detector mtcnn.*{names[0]}, {names[1]}") as refusal:
        check_exact(build("auto"), EXACT)
    assert "\n" not in str(refusal.value)
    check_exact(build("auto"), LipsyncOptions())
    check_exact(build("mtcnn"), EXACT)
    for name in names:
        (auxiliary / name).touch()
    check_exact(build("auto"), EXACT)


def test_exact_finds_faces_in_whole_frames_or_by_the_named_mtcnn():
    networks = cast(Any, SimpleNamespace())
    landmarks = Landmarks68Detector(networks=networks)
    chosen = lipsync._exact_detector("auto", landmarks)
    assert isinstance(chosen, Landmarks68Detector)
    assert chosen is not landmarks
    mtcnn = cast(Any, SimpleNamespace())
    assert lipsync._exact_detector("auto", mtcnn) is None
    assert lipsync._exact_detector("mtcnn", mtcnn) is mtcnn


def test_results_record_that_they_are_exact():
    exact, default = (result_settings(build("mtcnn"), options) for options in (EXACT, LipsyncOptions()))
    assert exact["options"]["exact"] is True
    assert default["options"]["exact"] is False
