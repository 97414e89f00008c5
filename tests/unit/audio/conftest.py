"""A small Whisper encoder with random weights."""

import pytest
import torch

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions


@pytest.fixture(scope="package")
def small_encoder() -> WhisperEncoder:
    """64 wide, 2 layers, random weights, no gradients."""
    torch.manual_seed(0)
    return WhisperEncoder(encoder_dimensions(width=64, num_layers=2, num_heads=4)).eval().requires_grad_(False)
