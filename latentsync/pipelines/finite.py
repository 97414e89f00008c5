"""Stops a run whose networks give NaN or infinity, which would otherwise end in black mouths without an error."""

import torch
from torch import Tensor

from latentsync.device import describe_device
from latentsync.errors import NonFiniteError


def check_finite(values: Tensor, what: str, dtype: torch.dtype) -> None:
    """Checks the result of a network.

    Args:
        values: of any shape.
        what: what they are, in the plural, for the message.
        dtype: the network's number format.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
    if bool(values.isfinite().all()):
        return
    if dtype == torch.float32:
        remedy = "the weights or the input may be damaged; `python -m latentsync.doctor` lists the weights"
    else:
        remedy = "run it again with --dtype float32"
    name = str(dtype).removeprefix("torch.")
    raise NonFiniteError(
        f"{what} are not finite (NaN or infinity), in {name} on {describe_device(values.device)}: {remedy}"
    )
