"""What an adaptation of the published weights lacks is said before any work, in one line."""

import importlib.util
from pathlib import Path

import pytest

from latentsync import weights
from latentsync.adaptation import mouth_readers, needed_weights
from latentsync.adaptation.needed_weights import check_weights
from latentsync.config import load_config
from latentsync.errors import CheckpointError, ConfigError, LatentSyncError
from latentsync.face import landmarks68
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.weights import REPOSITORY_ROOT, record_version
from tests.published_stand_ins import published_repositories


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights; recordings and the demo's weights stay where they are."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(landmarks68.torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(needed_weights, "CHECKPOINTS", folder)
    monkeypatch.setattr(needed_weights, "REPOSITORY_ROOT", tmp_path)
    monkeypatch.setattr(mouth_readers, "AUXILIARY", folder / "auxiliary")
    locate, locate_initial, find_vae = weights.locate, weights.locate_initial, weights.find_vae
    for name, find in {
        "locate": lambda path: locate(path) if "assets" in path else locate(path, tmp_path),
        "locate_initial": lambda path: locate_initial(path, tmp_path),
        "find_vae": lambda name: find_vae(name, tmp_path),
    }.items():
        monkeypatch.setattr(needed_weights, name, find)
    monkeypatch.setattr(weights, "_cached_vae", lambda name: None)
    return folder


def fill(checkpoints: Path, *left_out: str) -> None:
    folders = {"latentsync_unet.pt": "", "config.json": "vae", "diffusion_pytorch_model.safetensors": "vae"}
    for files in published_repositories().values():
        for name, content in files.items():
            path = checkpoints / folders.get(name, "") / name
            if name not in left_out:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def published(*overrides: str) -> AdaptationRun:
    return load_config(REPOSITORY_ROOT / "configs" / "unet" / "adapt.yaml", AdaptationRun, overrides)


def message(run: AdaptationRun, kind: type[LatentSyncError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        check_weights(run)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_everything_missing_is_one_line(checkpoints: Path):
    line = message(published())
    files = ("latentsync_unet.pt", "whisper/tiny.pt", "sd-vae-ft-mse", "s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip")
    assert all(name in line for name in files)
    assert line.count("run python") == 1
    assert line.endswith(": run python -m scripts.download_weights --version 1.5")
    assert str(checkpoints / "auxiliary") in line
    assert message(published("data.resolution=512")).endswith("--version 1.6")


def test_one_missing_file_keeps_its_own_message(checkpoints: Path):
    fill(checkpoints, "auxiliary/2DFAN4-cd938726ad.zip")
    line = message(published())
    assert "2DFAN4-cd938726ad.zip are missing for adaptation.mouth_reader=landmarks" in line
    assert "checkpoints/demo/mouth_reader.pt is another choice" in line
    assert "tiny.pt" not in line


def test_a_release_for_another_resolution(checkpoints: Path):
    fill(checkpoints)
    check_weights(published())
    record_version("1.6", checkpoints)
    line = message(published(), ConfigError)
    assert "release 1.6 for 512 px, the configuration has data.resolution 256: set data.resolution=512, or run" in line
    assert "--version 1.5" in line
    check_weights(published("data.resolution=512"))


def test_a_missing_package(checkpoints: Path, monkeypatch: pytest.MonkeyPatch):
    fill(checkpoints)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(needed_weights, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    assert "requires the package peft" in message(published(), ConfigError)
    check_weights(published("adaptation.lora.rank=null"))
    monkeypatch.setattr(needed_weights, "find_spec", lambda name: None if name == "decord" else find_spec(name))
    assert "pip install decord" in message(published("adaptation.lora.rank=null"), ConfigError)


@pytest.mark.parametrize("rank", ["0", "-1"])
def test_a_rank_that_makes_no_sense(rank: str):
    with pytest.raises(ConfigError, match=r"adaptation\.lora\.rank lies in \[1, 1024\] or is null, not " + rank):
        published(f"adaptation.lora.rank={rank}")
