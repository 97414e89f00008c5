"""The encoder of openai-whisper with the outputs of all its layers.

The U-Net attends to the stem of the encoder (two convolutions plus position) and to the output of each transformer
block, before the final norm. The network is `whisper.model.AudioEncoder`; this module adds hooks and the file format.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.model import AudioEncoder, ModelDimensions

from latentsync.device import building_on_meta
from latentsync.errors import CheckpointError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.weight_file import fill_network, read_weight_file

NUM_MELS = 80
"""Mel bands of the encoder's input."""
CHUNK_FRAMES = 3000
"""Mel frames of one encoder input: 30 s of 10 ms."""
CHUNK_ROWS = CHUNK_FRAMES // 2
"""Feature rows of one encoder output: 30 s of 20 ms (the stem halves the rate)."""

_REMEDY = "download whisper/tiny.pt again with setup_env.sh"
_ENCODER_PREFIX = "encoder."
_MAX_LAYERS = 64
_MAX_WIDTH = 8192


def encoder_dimensions(width: int, num_layers: int, num_heads: int) -> ModelDimensions:
    """Return the dimensions of a Whisper encoder without a decoder (the text sizes and the vocabulary are 0)."""
    return ModelDimensions(
        n_mels=NUM_MELS,
        n_audio_ctx=CHUNK_ROWS,
        n_audio_state=width,
        n_audio_head=num_heads,
        n_audio_layer=num_layers,
        n_vocab=0,
        n_text_ctx=0,
        n_text_state=0,
        n_text_head=0,
        n_text_layer=0,
    )


class WhisperEncoder(nn.Module):
    """Whisper's audio encoder that returns all its layers instead of the last one.

    Weights stay float32 and are cast when used, as in openai-whisper: its LayerNorm always computes in float32.

    Args:
        dims: dimensions of the network.
        dtype: precision of the computation and of the output.
    """

    def __init__(self, dims: ModelDimensions, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dims = dims
        self.dtype = dtype
        self.encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )

    @property
    def width(self) -> int:
        """Channels of every feature row."""
        return self.dims.n_audio_state

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks; the output has one layer more (the stem)."""
        return self.dims.n_audio_layer

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.ln_post.weight.device

    def forward(self, mel: Tensor) -> Tensor:
        """Encode normalised log-mel spectrograms. Gradients flow.

        Args:
            mel: (b, 80, 3000), zero-padded.

        Returns:
            (b, 1500, layers+1, width): the stem, then each block in order, before the final norm.
        """
        if mel.shape[-1] != 2 * CHUNK_ROWS:
            raise ValueError(f"expected a mel spectrogram of {2 * CHUNK_ROWS} frames, got {tuple(mel.shape)}")
        encoder = self.encoder
        stem = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel.to(self.dtype))))).transpose(1, 2)
        layers = [(stem + encoder.get_buffer("positional_embedding")).to(self.dtype)]
        for block in encoder.blocks:
            layers.append(block(layers[-1]))
        return torch.stack(layers, dim=2)


def load_whisper_encoder(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> WhisperEncoder:
    """Load the encoder of an openai-whisper file (`{"dims", "model_state_dict"}`); decoder weights are ignored.

    Args:
        path: the file.
        device: device of the weights.
        dtype: precision of the computation; the weights stay float32.

    Returns:
        The encoder in evaluation mode with gradients switched off.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe to load, or has another format.
    """
    content = _read_file(Path(path))
    dims = _read_dimensions(path, content["dims"])
    state = {
        name.removeprefix(_ENCODER_PREFIX): tensor
        for name, tensor in content["model_state_dict"].items()
        if isinstance(name, str) and name.startswith(_ENCODER_PREFIX)
    }
    with building_on_meta():
        model = WhisperEncoder(dims, dtype)
    fill_network(model.encoder, state, path)
    return model.float().to(device).eval().requires_grad_(False)


def save_whisper_encoder(path: str | Path, model: WhisperEncoder, dtype: torch.dtype = torch.float16) -> None:
    """Save `{"dims", "model_state_dict"}` with `encoder.*` names, stored in `dtype`; the file appears whole."""
    state = {
        _ENCODER_PREFIX + name: tensor.detach().to("cpu", dtype).contiguous().clone()
        for name, tensor in model.encoder.state_dict().items()
    }
    with atomic_write(Path(path)) as beside:
        torch.save({"dims": asdict(model.dims), "model_state_dict": state}, beside)


def _read_file(path: Path) -> Mapping:
    content = read_weight_file(path, _REMEDY)
    if not all(isinstance(content.get(key), Mapping) for key in ("dims", "model_state_dict")):
        raise CheckpointError(f"{path} is not an openai-whisper file (no dims and model_state_dict inside): {_REMEDY}")
    return content


def _read_dimensions(path: str | Path, stored: Mapping) -> ModelDimensions:
    names = [field.name for field in fields(ModelDimensions)]
    values = {name: stored[name] for name in names if type(stored.get(name)) is int}
    wrong = [name for name in names if name not in values]
    if wrong:
        raise CheckpointError(f"Whisper weights {path} have no usable dims ({', '.join(wrong)}): use whisper/tiny.pt")
    dims = ModelDimensions(**values)
    if dims.n_mels != NUM_MELS or dims.n_audio_ctx != CHUNK_ROWS:
        raise CheckpointError(
            f"Whisper weights {path} take {dims.n_mels} mels and {dims.n_audio_ctx} positions, "
            f"not {NUM_MELS} and {CHUNK_ROWS}: use tiny, base, small or medium"
        )
    sane = 0 < dims.n_audio_layer <= _MAX_LAYERS and 0 < dims.n_audio_head <= dims.n_audio_state <= _MAX_WIDTH
    if not sane or dims.n_audio_state % dims.n_audio_head or dims.n_audio_state % 2:
        raise CheckpointError(
            f"Whisper weights {path} have impossible dims (width {dims.n_audio_state}, heads {dims.n_audio_head}, "
            f"layers {dims.n_audio_layer}): use whisper/tiny.pt"
        )
    return dims
