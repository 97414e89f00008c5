"""The encoder's layer outputs against golden values, and its file format."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder, save_whisper_encoder
from latentsync.errors import CheckpointError
from tests.golden_values import det

OPENAI_DIMS = ModelDimensions(80, 1500, 32, 2, 2, 100, 16, 32, 2, 1)


@pytest.fixture
def openai_file(tmp_path: Path) -> Path:
    """A complete Whisper model with decoder, in the file format of openai-whisper."""
    torch.manual_seed(1)
    model = Whisper(OPENAI_DIMS).half()
    path = tmp_path / "tiny.pt"
    torch.save({"dims": dict(vars(OPENAI_DIMS)), "model_state_dict": model.state_dict()}, path)
    return path


def test_golden_rows(golden_dir: Path) -> None:
    dims = ModelDimensions(**json.loads((golden_dir / "whisper_dims.json").read_text()))
    model = WhisperEncoder(dims).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "encoder.positional_embedding":
                continue
            values = det(name, tuple(tensor.shape))
            if tensor.ndim > 1:
                values = values / np.sqrt(np.prod(tensor.shape[1:]))
            else:
                values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
            tensor.copy_(torch.as_tensor(values))
        rows = model(torch.as_tensor(det("whisper/mel", (1, 80, 3000))))[0].double().numpy()
    golden = np.load(golden_dir / "whisper.npz")
    assert np.linalg.norm(rows[:40] - golden["rows"]) < 1e-5 * np.linalg.norm(golden["rows"])
    np.testing.assert_allclose(rows.sum(axis=(0, 2)), golden["layer_sums"], rtol=1e-5)


def test_last_layer_is_the_input_of_whispers_final_norm(small_encoder: WhisperEncoder) -> None:
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    layers = small_encoder(mel)
    assert layers.shape == (2, 1500, 3, 64)
    torch.testing.assert_close(small_encoder.encoder.ln_post(layers[:, :, -1]), small_encoder.encoder(mel))


def test_another_length_is_rejected(small_encoder: WhisperEncoder) -> None:
    with pytest.raises(ValueError, match="3000 frames"):
        small_encoder(torch.zeros(1, 80, 100))


def test_calls_in_threads_do_not_mix(small_encoder: WhisperEncoder) -> None:
    mels = [torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    alone = [small_encoder(mel) for mel in mels]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(small_encoder, mels))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_flow(small_encoder: WhisperEncoder) -> None:
    mel = torch.zeros(1, 80, 3000, requires_grad=True)
    small_encoder(mel).square().mean().backward()
    assert mel.grad is not None
    assert mel.grad.abs().sum() > 0


def test_loads_openai_file_with_decoder(openai_file: Path) -> None:
    model = load_whisper_encoder(openai_file)
    reference = Whisper(OPENAI_DIMS)
    reference.load_state_dict(torch.load(openai_file, weights_only=True)["model_state_dict"])
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    assert (model.width, model.num_layers, model.dtype) == (32, 2, torch.float32)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(model.encoder.ln_post(model(mel)[:, :, -1]), reference.encoder(mel))


def test_loads_in_other_precision(openai_file: Path) -> None:
    model = load_whisper_encoder(openai_file, dtype=torch.bfloat16)
    assert model(torch.zeros(1, 80, 3000)).dtype == torch.bfloat16


def test_round_trip(small_encoder: WhisperEncoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    save_whisper_encoder(path, small_encoder, dtype=torch.float32)
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_whisper_encoder(path)(mel), small_encoder(mel))
    names = torch.load(path, weights_only=True)["model_state_dict"]
    assert all(name.startswith("encoder.") for name in names)
    assert os.listdir(tmp_path) == ["encoder.pt"]


class _Code:
    def __reduce__(self):
        return os.mkdir, ("code_was_run",)


def _spoil_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def _spoil_text(path: Path) -> None:
    path.write_text("not weights")


def _spoil_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Code(), protocol=2))


def _spoil_code_in_torch_file(path: Path) -> None:
    torch.save({"dims": _Code(), "model_state_dict": {}}, path)


def _edit(path: Path, section: str, **values: object) -> None:
    content = torch.load(path, weights_only=True)
    for name, value in values.items():
        name = name.replace("__", ".")
        if value is None:
            del content[section][name]
        else:
            content[section][name] = value
    torch.save(content, path)


def _spoil_missing_key(path: Path) -> None:
    _edit(path, "model_state_dict", encoder__conv1__weight=None)


def _spoil_extra_key(path: Path) -> None:
    _edit(path, "model_state_dict", encoder__conv3__weight=torch.zeros(1))


def _spoil_shape(path: Path) -> None:
    _edit(path, "model_state_dict", encoder__conv1__weight=torch.zeros(3, 80, 3))


def _spoil_huge_width(path: Path) -> None:
    _edit(path, "dims", n_audio_state=2**40)


def _spoil_mels(path: Path) -> None:
    _edit(path, "dims", n_mels=128)


def _spoil_dims_type(path: Path) -> None:
    _edit(path, "dims", n_audio_layer="two")


def _spoil_no_dims(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def _spoil_remove(path: Path) -> None:
    path.unlink()


def _spoil_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [value for name, value in sorted(globals().items()) if name.startswith("_spoil_")],
    ids=lambda spoil: spoil.__name__.removeprefix("_spoil_"),
)
def test_bad_files_are_rejected_in_one_line(openai_file: Path, spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(openai_file.parent)
    spoil(openai_file)
    with pytest.raises(CheckpointError, match=r"tiny\.pt") as caught:
        load_whisper_encoder(openai_file)
    assert "\n" not in str(caught.value)
    assert not Path("code_was_run").exists()
