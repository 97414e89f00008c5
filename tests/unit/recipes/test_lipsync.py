"""The detector for the option `exact`, and what is rejected before any network is loaded."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image

from latentsync.errors import CheckpointError, InputError
from latentsync.face.landmarks68 import Landmarks68Detector
from latentsync.models.vae import WEIGHTS_FILE
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes import lipsync
from latentsync.recipes.lipsync import (
    LipsyncBuild,
    build_detectors,
    check_exact,
    check_silence,
    result_settings,
    vae_folder,
    warn_if_anchors_differ,
)
from latentsync.weights import CHECKPOINTS, FACE_ALIGNMENT, REPOSITORY_ROOT, UNET

EXACT = LipsyncOptions(exact=True, overlap_frames=0)


def build(detector: str) -> LipsyncBuild:
    config, unet = REPOSITORY_ROOT / "configs" / "demo" / "unet.yaml", CHECKPOINTS / "demo" / "latentsync_unet.pt"
    return LipsyncBuild(config, unet, torch.device("cpu"), torch.float32, detector)


@pytest.fixture
def auxiliary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the auxiliary weights, empty."""
    monkeypatch.setattr(lipsync, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "auxiliary").mkdir()
    return tmp_path / "auxiliary"


def test_exact_without_the_landmark_weights_is_rejected_by_name(auxiliary: Path):
    names = ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip")
    with pytest.raises(CheckpointError, match=f"--detector mtcnn.*{names[0]}, {names[1]}") as refusal:
        check_exact(build("auto"), EXACT)
    assert "\n" not in str(refusal.value)
    check_exact(build("auto"), LipsyncOptions())
    check_exact(build("mtcnn"), EXACT)
    for name in names:
        (auxiliary / name).touch()
    check_exact(build("auto"), EXACT)


def test_exact_finds_faces_in_whole_frames_or_by_the_named_mtcnn(monkeypatch: pytest.MonkeyPatch):
    landmarks, mtcnn = Landmarks68Detector(networks=cast(Any, SimpleNamespace())), cast(Any, SimpleNamespace())
    monkeypatch.setattr(lipsync, "build_detector", lambda *arguments: landmarks)
    detector, exact = build_detectors(build("auto"))
    assert detector is landmarks
    assert isinstance(exact, Landmarks68Detector)
    assert exact is not landmarks
    monkeypatch.setattr(lipsync, "build_detector", lambda *arguments: mtcnn)
    assert build_detectors(build("auto")) == (mtcnn, None)
    assert build_detectors(build("mtcnn")) == (mtcnn, mtcnn)


def test_results_record_an_adapted_decoder_and_the_tiny_vae_has_none(tmp_path: Path):
    decoder = tmp_path / "vae_decoder.safetensors"
    decoder.write_bytes(b"any")
    full = replace(build("mtcnn"), decoder=decoder)
    assert (full.used_decoder, replace(full, vae="tiny").used_decoder) == (decoder, None)
    weights = [result_settings(one, LipsyncOptions())["weights"] for one in (build("mtcnn"), full)]
    assert weights[1].keys() - weights[0].keys() == {"vae_decoder"}


def test_results_record_that_they_are_exact():
    exact, default = (result_settings(build("mtcnn"), options) for options in (EXACT, LipsyncOptions()))
    assert exact["options"]["exact"] is True
    assert default["options"]["exact"] is False


def test_results_record_the_content_of_masks_and_not_their_place(tmp_path: Path):
    recorded = []
    for name, level in (("a", 0), ("b", 0), ("c", 255)):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), level).save(tmp_path / name / "0.png")
        options = LipsyncOptions(occluder=str(tmp_path / name))
        recorded.append(result_settings(build("mtcnn"), options)["options"]["occluder"])
    assert recorded[0] == recorded[1] != recorded[2]
    assert str(tmp_path) not in recorded[0]
    with pytest.raises(InputError, match="absent does not exist"):
        result_settings(build("mtcnn"), LipsyncOptions(occluder=str(tmp_path / "absent")))


def test_the_tiny_vae_must_have_the_latents_of_the_unet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny = replace(build("mtcnn"), vae="tiny")
    monkeypatch.setattr(lipsync, "find_tiny_vae", lambda name: tmp_path)
    (tmp_path / WEIGHTS_FILE).touch()
    config = tmp_path / "config.json"
    config.write_text('{"latent_channels": 8, "decoder_block_out_channels": [32, 32, 32, 32]}')
    assert vae_folder(tiny) == tmp_path
    assert vae_folder(build("mtcnn")).name == "vae"
    config.write_text(config.read_text().replace("8,", "4,"))
    with pytest.raises(CheckpointError, match="has 4 latent channels, the U-Net 8: use --vae full"):
        vae_folder(tiny)


def build_for(unet: Path, detector: str = "auto") -> LipsyncBuild:
    return LipsyncBuild(Path("any.yaml"), unet, torch.device("cpu"), torch.float32, detector)


def test_only_the_published_unet_with_a_fallback_detector_gives_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lipsync, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(lipsync, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    boxes, landmarks = (tmp_path / name for name in FACE_ALIGNMENT)
    boxes.parent.mkdir()
    boxes.write_bytes(b"weights")
    warn_if_anchors_differ(build_for(tmp_path / "demo" / UNET))
    warn_if_anchors_differ(build_for(tmp_path / UNET, "mtcnn"))
    assert caplog.messages == []
    warn_if_anchors_differ(build_for(tmp_path / UNET))
    (message,) = caplog.messages
    assert message.startswith("faces are aligned by MTCNN's points, not by face-alignment's landmarks as published")
    assert message.endswith(f"missing: {landmarks.name}: run python -m scripts.download_weights")
    landmarks.write_bytes(b"weights")
    warn_if_anchors_differ(build_for(tmp_path / UNET))
    assert len(caplog.messages) == 1


def test_a_missing_speech_detector_is_one_line_before_networks_are_loaded(monkeypatch):
    monkeypatch.setattr("latentsync.audio.silero_network.find_spec", lambda name: None)
    check_silence(LipsyncOptions())
    for silence in ("keep", "close"):
        with pytest.raises(CheckpointError, match="pip install 'silero-vad>=6', or use --silence off"):
            check_silence(LipsyncOptions(silence=silence))
