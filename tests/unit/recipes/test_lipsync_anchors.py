"""A run with the published U-Net says where its anchors are not the published ones."""

from pathlib import Path

import torch

from latentsync.recipes import lipsync
from latentsync.recipes.lipsync import LipsyncBuild, warn_if_anchors_differ
from latentsync.weights import FACE_ALIGNMENT, UNET


def build(unet: Path, detector: str = "auto") -> LipsyncBuild:
    return LipsyncBuild(Path("any.yaml"), unet, torch.device("cpu"), torch.float32, detector)


def test_only_the_published_unet_with_an_unasked_detector_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lipsync, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(lipsync, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    boxes, landmarks = (tmp_path / name for name in FACE_ALIGNMENT)
    boxes.parent.mkdir()
    boxes.write_bytes(b"weights")
    warn_if_anchors_differ(build(tmp_path / "demo" / UNET))
    warn_if_anchors_differ(build(tmp_path / UNET, "mtcnn"))
    assert caplog.messages == []
    warn_if_anchors_differ(build(tmp_path / UNET))
    (message,) = caplog.messages
    assert message.startswith("faces are aligned by MTCNN's points, not by face-alignment's landmarks as published")
    assert message.endswith(f"missing: {landmarks.name}: run python -m scripts.download_weights")
    landmarks.write_bytes(b"weights")
    warn_if_anchors_differ(build(tmp_path / UNET))
    assert len(caplog.messages) == 1
