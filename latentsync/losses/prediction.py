"""What a loss term may look at: one prediction of the U-Net, its targets, and its pixels, decoded once on demand."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.utils.checkpoint import checkpoint

from latentsync.models.vae import LatentCodec

_CHECKPOINTED_FRAMES = 4
"""Frames decoded at a time when activations are recomputed."""


@dataclass
class Prediction:
    """One batch of predictions and what they should have been.

    Attributes:
        predicted_noise: (b, L, f, h, w) of the network.
        noise: (b, L, f, h, w) that was added.
        timestep: (b,) int64.
        clean_estimate: (b, L, f, h, w), see `latentsync.diffusion.one_step.estimate_clean`.
        codec: decodes the estimate; None where no term wants pixels.
        target_latents: (b, L, f, h, w) clean latents, or None.
        target_pixels: (b, f, 3, R, R) real frames in [-1, 1]; None where no term wants them.
        mel: (b, 1, 80, columns) of the window's sound; None where no term wants it.
        is_heard: (b,) bool, which items the network heard the sound of; None where it heard all.
        checkpoint_decode: whether the decoder's activations are recomputed in the backward pass, to save memory.
    """

    predicted_noise: torch.Tensor
    noise: torch.Tensor
    timestep: torch.Tensor
    clean_estimate: torch.Tensor
    codec: LatentCodec | None = None
    target_latents: torch.Tensor | None = None
    target_pixels: torch.Tensor | None = None
    mel: torch.Tensor | None = None
    is_heard: torch.Tensor | None = None
    checkpoint_decode: bool = False

    @cached_property
    def pixels(self) -> torch.Tensor:
        """Decoded clean estimate (b, f, 3, R, R), float32, about [-1, 1], with gradient; decoded on first use only."""
        if self.codec is None:
            raise ValueError("a loss term wants pixels, but the prediction has no codec")
        batch = self.clean_estimate.shape[0]
        latents = self.clean_estimate.transpose(1, 2).flatten(0, 1)
        if self.checkpoint_decode:
            parts = latents.split(_CHECKPOINTED_FRAMES)
            frames = torch.cat([self._decode_again_in_backward(part) for part in parts])
        else:
            frames = self.codec.decode(latents)
        return frames.float().unflatten(0, (batch, -1))

    def _decode_again_in_backward(self, latents: torch.Tensor) -> torch.Tensor:
        assert self.codec is not None
        frames = checkpoint(self.codec.decode, latents, use_reentrant=False)
        assert isinstance(frames, torch.Tensor)
        return frames
