"""Interface of loss terms, the prediction that they receive, and their weighted sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch.utils.checkpoint import checkpoint

from latentsync.models.vae import LatentCodec

_CHECKPOINTED_FRAMES = 4
"""Frames decoded at a time when activations are recomputed."""


@dataclass
class Prediction:
    """One batch of predictions with their targets; pixels are decoded once, on first use.

    Attributes:
        predicted_noise: (b, L, f, h, w) output of the network.
        noise: (b, L, f, h, w) added noise, the target.
        timestep: (b,) int64.
        clean_estimate: (b, L, f, h, w), see `latentsync.diffusion.noise.predict_x0`.
        codec: decodes the estimate; None if no term needs pixels.
        target_latents: (b, L, f, h, w) clean latents, or None.
        target_pixels: (b, f, 3, R, R) target frames in [-1, 1]; None if no term needs them.
        mel: (b, 1, 80, columns) of the window's audio; None if no term needs it.
        has_audio: (b,) bool, False for items whose audio was dropped; None if none was.
        checkpoint_decode: recompute the decoder's activations in the backward pass, to save memory.
    """

    predicted_noise: torch.Tensor
    noise: torch.Tensor
    timestep: torch.Tensor
    clean_estimate: torch.Tensor
    codec: LatentCodec | None = None
    target_latents: torch.Tensor | None = None
    target_pixels: torch.Tensor | None = None
    mel: torch.Tensor | None = None
    has_audio: torch.Tensor | None = None
    checkpoint_decode: bool = False

    @cached_property
    def pixels(self) -> torch.Tensor:
        """Decoded clean estimate (b, f, 3, R, R), float32 with gradient, in about [-1, 1]."""
        if self.codec is None:
            raise ValueError("a loss term needs pixels, but the prediction has no codec")
        batch = self.clean_estimate.shape[0]
        latents = self.clean_estimate.transpose(1, 2).flatten(0, 1)
        if self.checkpoint_decode:
            parts = latents.split(_CHECKPOINTED_FRAMES)
            frames = torch.cat([self._decode_with_recomputation(part) for part in parts])
        else:
            frames = self.codec.decode(latents)
        return frames.float().unflatten(0, (batch, -1))

    def _decode_with_recomputation(self, latents: torch.Tensor) -> torch.Tensor:
        assert self.codec is not None
        frames = checkpoint(self.codec.decode, latents, use_reentrant=False)
        assert isinstance(frames, torch.Tensor)
        return frames


class LossTerm(Protocol):
    """Interface of a loss term.

    Attributes:
        name: under which its value is logged.
        weight: factor in the weighted sum, above 0.
        needs_pixels: True if the term needs the decoded prediction.
        needs_target_pixels: True if the term needs the target frames.
        needs_mel: True if the term needs the mel spectrogram.
    """

    name: str
    weight: float
    needs_pixels: bool
    needs_target_pixels: bool
    needs_mel: bool

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the unweighted loss: scalar float32 with gradient, the mean over the items."""
        ...


class LossStack:
    """Weighted sum of loss terms. It has no trainable weights and is not part of the model's state.

    Args:
        terms: terms with different names and weights above 0.

    Raises:
        ValueError: there is no term, or a name or weight is invalid.
    """

    def __init__(self, terms: Sequence[LossTerm]):
        names = [term.name for term in terms]
        if not terms or len(set(names)) < len(names) or min(term.weight for term in terms) <= 0:
            raise ValueError(f"a loss stack needs terms with different names and weights above 0, not {names}")
        self.terms = tuple(terms)

    @property
    def needs_pixels(self) -> bool:
        """True if predictions must have a codec."""
        return any(term.needs_pixels for term in self.terms)

    @property
    def needs_target_pixels(self) -> bool:
        """True if predictions must have target frames."""
        return any(term.needs_target_pixels for term in self.terms)

    @property
    def needs_mel(self) -> bool:
        """True if predictions must have the mel spectrogram."""
        return any(term.needs_mel for term in self.terms)

    def __call__(self, prediction: Prediction) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the weighted sum and the values of all terms.

        Autocast is disabled: each frozen network runs in the number format it was loaded in.

        Returns:
            The weighted sum (scalar float32 with gradient), and the unweighted, detached value of each term by name.
        """
        total = torch.zeros((), device=prediction.predicted_noise.device)
        values = {}
        with torch.autocast(prediction.predicted_noise.device.type, enabled=False):
            for term in self.terms:
                value = term(prediction)
                total = total + term.weight * value
                values[term.name] = value.detach()
        return total, values
