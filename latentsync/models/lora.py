"""Low-rank adaptation (LoRA, arXiv 2106.09685) of a frozen U-Net, through the peft library."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast

import torch
from torch import nn

from latentsync.errors import ConfigError
from latentsync.models.cpu_inference import plain_layers
from latentsync.models.unet import UNet3DConditionModel

MAX_RANK = 1024

_ADAPTER = "default"
"""Name that peft gives to the adapter; it is no part of the names of `LoraUNet.adapter_weights`."""


@dataclass
class LoraConfig:
    """Low-rank adaptation: the change of a layer's weight is a product of two matrices of this rank.

    Attributes:
        rank: rank of the change; None: no LoRA, all selected weights are trained.
        alpha: the product is multiplied by alpha / rank; None: the rank, which multiplies it by 1.
        targets: substrings of the names of linear and convolutional layers that are adapted.
    """

    rank: int | None = None
    alpha: float | None = None
    targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out", "conv"])

    def __post_init__(self) -> None:
        if self.rank is not None and not 1 <= self.rank <= MAX_RANK:
            raise ValueError(f"adaptation.lora.rank lies in [1, {MAX_RANK}] or is null, not {self.rank}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"adaptation.lora.alpha is above 0 and finite, or null, not {self.alpha}")
        if not self.targets:
            raise ValueError("adaptation.lora.targets: name at least one part of a layer's name")

    @property
    def scale(self) -> float:
        """Factor of the product of the two matrices."""
        assert self.rank is not None
        return 1.0 if self.alpha is None else self.alpha / self.rank


class LoraUNet(nn.Module):
    """A U-Net whose own weights are frozen, and the low-rank changes of its layers, which are trained in float32.

    The state dict has the low-rank weights only, under the names of `adapter_weights`. Inference merges them into the
    U-Net (`latentsync.models.lora_file`).

    Args:
        unet: the network; it is changed in place. Its weights are converted to `dtype` and frozen.
        config: rank and layers; the rank is not None.
        dtype: of the frozen weights and of the computation; the product of the two matrices is computed in float32.
        frozen: substrings of the names of layers that are not adapted, although `config.targets` selects them.

    Raises:
        ConfigError: no layer is selected.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        config: LoraConfig,
        dtype: torch.dtype = torch.float32,
        frozen: Sequence[str] = (),
    ) -> None:
        import peft  # takes three seconds, which only LoRA trainings need

        super().__init__()
        if config.rank is None:
            raise ValueError("LoRA requires a rank")
        layers = target_layers(unet, config.targets, frozen)
        unet.requires_grad_(False)
        # nn.Module.to instead of unet.to: diffusers' override warns about modules to keep in float32 even without any.
        to = cast(Callable[..., nn.Module], nn.Module.to)
        to(unet, dtype=dtype)
        is_meta = unet.conv_in.weight.is_meta
        adapter = peft.LoraConfig(r=config.rank, target_modules=layers)
        adapter.lora_alpha = config.scale * config.rank  # type: ignore[assignment]  # annotated as an integer
        peft.inject_adapter_in_model(adapter, unet, _ADAPTER, low_cpu_mem_usage=is_meta)
        unet.forward = _in_plain_layers(unet.forward)  # the fused layers of a CPU read the frozen weights alone
        self.unet = unet
        for weight in self.adapter_weights().values():
            weight.data = weight.data.float()
            weight.requires_grad_(True)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor | int, audio: torch.Tensor) -> torch.Tensor:
        """Predict the noise, see `UNet3DConditionModel.forward`."""
        return self.unet(sample, timestep, audio)

    def enable_gradient_checkpointing(self, function: Callable[..., Any] | None = None) -> None:
        """Recompute the activations of every layer in the backward pass, with `function` or torch's own."""
        self.unet.enable_gradient_checkpointing(function)

    def adapter_weights(self) -> dict[str, nn.Parameter]:
        """Return the trained weights, such as "mid_block.resnets.0.conv1.lora_A" (rank, c, 3, 3)."""
        ending = f".{_ADAPTER}.weight"
        names = ((name.removesuffix(ending), weight) for name, weight in self.unet.named_parameters())
        return {name: weight for name, weight in names if name.endswith((".lora_A", ".lora_B"))}

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the low-rank weights by name; the frozen weights stay in their own file."""
        result = {} if destination is None else destination
        for name, weight in self.adapter_weights().items():
            result[prefix + name] = weight if keep_vars else weight.detach()
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy the low-rank weights; return their names that are missing, and those that are unknown.

        Raises:
            RuntimeError: names differ (if `strict`), or shapes.
        """
        own = self.adapter_weights()
        missing = [name for name in own if name not in state_dict]
        unknown = [name for name in state_dict if name not in own]
        if strict and (missing or unknown):
            raise RuntimeError(f"LoRA weights differ: missing {missing[:3]}, unknown {unknown[:3]}")
        with torch.no_grad():
            for name in own:
                if name in state_dict:
                    own[name].copy_(state_dict[name])
        return nn.modules.module._IncompatibleKeys(missing, unknown)


def trained_unet(model: nn.Module) -> UNet3DConditionModel:
    """Return the U-Net of a training, with or without low-rank changes."""
    unet = model.unet if isinstance(model, LoraUNet) else model
    assert isinstance(unet, UNet3DConditionModel)
    return unet


def _in_plain_layers(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> torch.Tensor:
        with plain_layers():
            return forward(*args, **kwargs)

    return run


def target_layers(unet: nn.Module, targets: Sequence[str], frozen: Sequence[str] = ()) -> list[str]:
    """Return the names of the linear and convolutional layers that are adapted.

    Raises:
        ConfigError: a target selects none, or all are frozen.
    """
    layers = [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    for target in targets:
        if not any(target in name for name in layers):
            raise ConfigError(
                f"adaptation.lora.targets: no layer's name contains {target!r}; names look like {layers[0]!r}"
            )
    chosen = [name for name in layers if any(part in name for part in targets)]
    chosen = [name for name in chosen if not any(part in f"{name}." for part in frozen)]
    if not chosen:
        raise ConfigError("adaptation.frozen contains all layers of adaptation.lora.targets: shorten one of the lists")
    return chosen
