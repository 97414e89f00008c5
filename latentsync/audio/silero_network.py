"""The network of Silero VAD, with the weights of the package `silero-vad`.

The package is only located, never imported: importing it sets torch to one thread for the whole process. Its 16 kHz
weights are a safetensors file, so no TorchScript is executed. All windows of a block pass the convolutions in one
batch; only the LSTM is sequential.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import fill_network, read_safetensors

WINDOW_SAMPLES = 512
"""Samples per probability: 32 ms."""
CONTEXT_SAMPLES = 64
"""Samples before a window that the network receives too."""

PACKAGE = "silero-vad"
_WEIGHTS = Path("data", "silero_vad_16k.safetensors")

_NUM_FFT, _HOP = 256, 128
_NUM_BINS = _NUM_FFT // 2 + 1
_REFLECTED = 64
_WIDTH = 128

State = tuple[Tensor, Tensor]
"""Hidden and cell state of the LSTM, each (1, 128)."""


class SileroNetwork(nn.Module):
    """Probability of speech in successive windows of 16 kHz audio: STFT, four convolutions, LSTM, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _NUM_BINS, _NUM_FFT, stride=_HOP, bias=False)
        self.conv1 = nn.Conv1d(_NUM_BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, _WIDTH, 3, padding=1)
        self.lstm = nn.LSTM(_WIDTH, _WIDTH)
        self.final_conv = nn.Conv1d(_WIDTH, 1, 1)

    def forward(self, windows: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the probabilities (n,) of windows (n, 64 + 512), and the state for the windows that follow."""
        padded = F.pad(windows[:, None], (0, _REFLECTED), mode="reflect")
        real, imaginary = self.stft_conv(padded).split(_NUM_BINS, dim=1)
        features = (real**2 + imaginary**2).sqrt()
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = convolution(features).relu()
        hidden, next_state = self.lstm(features[..., 0], state)
        return self.final_conv(hidden.relu().T).sigmoid()[0], next_state


def load_silero_network() -> SileroNetwork:
    """Load the network on the CPU, in evaluation mode, with frozen parameters.

    Raises:
        CheckpointError: the package `silero-vad` is not installed, or its weights are damaged.
    """
    path = silero_weights()
    weights = {name.replace("lstm_cell.", "lstm."): tensor for name, tensor in read_safetensors(path).items()}
    weights = {f"{name}_l0" if name.startswith("lstm.") else name: tensor for name, tensor in weights.items()}
    with torch.device("meta"):
        network = SileroNetwork()
    fill_network(network, weights, path)
    return network.eval().requires_grad_(False)


def silero_weights() -> Path:
    """Return the weights in the installed package, without importing it.

    Raises:
        CheckpointError: the package, or this file in it, is missing.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        if (path := Path(folder, _WEIGHTS)).is_file():
            return path
    raise CheckpointError(
        f"--silence needs the weights of the package {PACKAGE}, which are missing: pip install '{PACKAGE}>=6', or use "
        "--silence off"
    )
