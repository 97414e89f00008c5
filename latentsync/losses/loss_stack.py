"""Loss terms, each with a name and a weight, and their weighted sum."""

from collections.abc import Sequence
from typing import Protocol

import torch

from latentsync.losses.prediction import Prediction


class LossTerm(Protocol):
    """One thing to be good at.

    Attributes:
        name: under which its value is logged.
        weight: its share in the sum, above 0.
        needs_pixels: whether it looks at decoded frames.
        needs_target_pixels: whether it compares them with the real frames.
        needs_mel: whether it listens to the sound.
    """

    name: str
    weight: float
    needs_pixels: bool
    needs_target_pixels: bool
    needs_mel: bool

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32, the mean over the items, with gradient, before weighting."""
        ...


class LossStack:
    """The weighted sum of terms; holds no trainable weights and is no part of the model's state."""

    def __init__(self, terms: Sequence[LossTerm]):
        names = [term.name for term in terms]
        if not terms or len(set(names)) < len(names) or min(term.weight for term in terms) <= 0:
            raise ValueError(f"a loss stack needs terms of different names and weights above 0, not {names}")
        self.terms = tuple(terms)

    @property
    def needs_pixels(self) -> bool:
        """Whether predictions must carry a codec to decode with."""
        return any(term.needs_pixels for term in self.terms)

    @property
    def needs_target_pixels(self) -> bool:
        """Whether predictions must carry the real frames."""
        return any(term.needs_target_pixels for term in self.terms)

    @property
    def needs_mel(self) -> bool:
        """Whether predictions must carry the mel of the sound."""
        return any(term.needs_mel for term in self.terms)

    def __call__(self, prediction: Prediction) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Weighs the terms up. Runs outside autocast: every judge computes in the format it was built in.

        Returns:
            The weighted sum (scalar float32 with gradient), and each term's own value, unweighted and detached.
        """
        total = torch.zeros((), device=prediction.predicted_noise.device)
        values = {}
        with torch.autocast(prediction.predicted_noise.device.type, enabled=False):
            for term in self.terms:
                value = term(prediction)
                total = total + term.weight * value
                values[term.name] = value.detach()
        return total, values
