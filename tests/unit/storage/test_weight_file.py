"""Damaged weight files are refused while loading, in one line that names the file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.errors import CheckpointError
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage import weight_file
from latentsync.storage.weight_file import check_archive, is_finite, plain_tensors, read_weight_file
from latentsync.weights import DEMO_UNET_CONFIG, REPOSITORY_ROOT

DEMO = Path("checkpoints/demo")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_non_finite_element_is_found(dtype: torch.dtype, value: float):
    tensor = torch.zeros(3, 1000, dtype=dtype)
    assert is_finite(tensor)
    tensor[2, 777] = value
    assert not is_finite(tensor)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_an_expanded_tensor_is_checked_by_its_stored_elements(value: float):
    huge = torch.full((2,), value, dtype=torch.float16)[:1].expand(1 << 40)
    assert is_finite(huge) == (value == 0.0)


def test_integers_and_empty_tensors_are_finite():
    assert is_finite(torch.tensor([1, 2]))
    assert is_finite(torch.zeros(0))
    assert is_finite(torch.zeros(4, dtype=torch.float8_e4m3fn))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({1: torch.ones(2)}, r"a weight whose name is not a string \(1\)"),
        ({"a": [1.0]}, "no tensor in a"),
        ({"a": torch.ones(2, device="meta")}, "no dense tensor in a"),
        ({"a": torch.ones(2, 2).to_sparse()}, "no dense tensor in a"),
        ({"a": torch.ones(2), "b": torch.tensor([torch.nan])}, "NaN or infinity in b"),
    ],
)
def test_anything_but_dense_finite_tensors_is_refused(weights: dict, said: str):
    with pytest.raises(CheckpointError, match=said):
        plain_tensors(weights, "w.pt")


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.save({"state_dict": {"a": torch.arange(1000.0), "b": torch.ones(10)}}, path)
    check_archive(path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(1000.0).numpy().tobytes()[400:440])
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.pt is damaged \(wrong checksum of data/\d\)"):
        read_weight_file(path)


def test_a_file_without_checksums_passes(tmp_path: Path):
    try:
        torch.serialization.set_crc32_options(False)
        torch.save({"a": torch.arange(100.0), "b": torch.ones(10)}, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    read_weight_file(tmp_path / "w.pt")


def _count_passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every verification of a checksum or of finite elements."""
    passes: list[str] = []
    for name in ("_is_intact", "is_finite"):
        function = getattr(weight_file, name)
        monkeypatch.setattr(weight_file, name, lambda *a, f=function, n=name: passes.append(n) or f(*a))
    return passes


def test_an_unchanged_file_is_verified_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(10)}, path)
    os.utime(path, (1_000_000, 1_000_000))
    passes = _count_passes(monkeypatch)
    plain_tensors(read_weight_file(path), path)
    assert passes.count("is_finite") == 1
    assert "_is_intact" in passes
    num_passes = len(passes)
    weights = plain_tensors(read_weight_file(path), path)
    assert len(passes) == num_passes
    plain_tensors({"a": weights["a"].half()}, path)
    assert len(passes) == num_passes + 1, "another dtype is another check"
    os.utime(path, (1_000_001, 1_000_001))
    plain_tensors(read_weight_file(path), path)
    assert len(passes) == 2 * num_passes + 1


def test_a_file_written_just_now_is_always_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(10)}, path)
    passes = _count_passes(monkeypatch)
    for _ in range(2):
        plain_tensors(read_weight_file(path), path)
    assert passes.count("is_finite") == 2


def _changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        weights = content.get("state_dict", content.get("model_state_dict"))
        name = next(name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim > 1)
        weights[name] = change(weights[name].clone())
        torch.save(content, path)

    return write


def load_demo_unet(path: Path) -> None:
    config = load_config(REPOSITORY_ROOT / DEMO_UNET_CONFIG, UNetRun).model
    load_unet(config, path)


def _with_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[-1] = torch.nan
    return tensor


CHANGES = {
    "NaN": (_changed(_with_nan), "NaN or infinity"),
    "whole numbers": (_changed(lambda tensor: tensor.long()), "int64|wrong shape"),
    "sparse": (_changed(lambda tensor: tensor.float().to_sparse()), "no dense tensor|wrong shape"),
    "meta": (_changed(lambda tensor: tensor.to("meta")), "no dense tensor|wrong shape"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("file", ["latentsync_unet.pt", "whisper.pt"])
def test_weights_that_cannot_work_are_refused_while_they_load(repository: Path, tmp_path: Path, file: str, change: str):
    path = Path(shutil.copy(repository / DEMO / file, tmp_path / file))
    write, said = CHANGES[change]
    write(path)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_whisper_encoder(path) if file == "whisper.pt" else load_demo_unet(path)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_vae_with_nan_is_refused(repository: Path, tmp_path: Path):
    folder = Path(shutil.copytree(repository / DEMO / "vae", tmp_path / "vae"))
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = next(iter(weights))
    weights[name] = _with_nan(weights[name].clone())
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=rf"{file.name} contains NaN or infinity in {name}"):
        load_vae(folder)
