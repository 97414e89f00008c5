"""Which weights train."""

from collections.abc import Sequence

from torch import nn

from latentsync.errors import ConfigError


def select_trainable(model: nn.Module, parts: Sequence[str]) -> int:
    """Lets the parameters train whose names contain one of `parts` (all of them where `parts` is empty).

    The published second stage trains "motion_modules." and "attentions.", its efficient variant "motion_modules." and
    "attn2.".

    Returns:
        How many numbers train.

    Raises:
        ConfigError: a part is in no name.
    """
    names = [name for name, _ in model.named_parameters()]
    unknown = [part for part in parts if not any(part in name for name in names)]
    if unknown:
        raise ConfigError(f"trainable: no weight's name contains {unknown[0]!r}; a name reads like {names[0]!r}")
    num_trainable = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not parts or any(part in name for part in parts))
        num_trainable += parameter.numel() if parameter.requires_grad else 0
    return num_trainable
