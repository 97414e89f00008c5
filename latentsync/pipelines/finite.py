"""Stops a run whose networks give NaN or infinity, which would otherwise end in black mouths without an error."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentsync.device import describe_device
from latentsync.errors import NonFiniteError


@dataclass(frozen=True)
class WeightFiles:
    """Where the networks of a pipeline were read from, for messages; None where nobody says."""

    unet: Path | None = None
    vae: Path | None = None
    audio_encoder: Path | None = None


def check_finite(values: Tensor, what: str, dtype: torch.dtype, weights: Path | None = None) -> None:
    """Checks the result of a network.

    Args:
        values: of any shape.
        what: what they are, in the plural, for the message.
        dtype: the network's number format.
        weights: the file it was read from.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
    if bool(values.isfinite().all()):
        return
    if dtype == torch.float32:
        file = "" if weights is None else f" {weights}"
        remedy = f"the weights{file} or the input may be damaged; download the weights again, or try another input"
    else:
        remedy = "run it again with --dtype float32"
    name = str(dtype).removeprefix("torch.")
    raise NonFiniteError(
        f"{what} are not finite (NaN or infinity), in {name} on {describe_device(values.device)}: {remedy}"
    )
