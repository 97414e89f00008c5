"""Files of low-rank changes (LoRA) of a U-Net: safetensors with the weights they change by name and hash."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from latentsync.errors import CheckpointError
from latentsync.models.lora import LoraConfig
from latentsync.storage.atomic import atomic_write
from latentsync.storage.weight_file import plain_tensors

_FORMAT = "latentsync-lora"
_VERSION = "1"
_DOWN, _UP = ".lora_A", ".lora_B"
_AGAIN = "create it again"


@dataclass(frozen=True)
class LoraFile:
    """Content of a file.

    Attributes:
        path: the file.
        weights: low-rank weights by name, "<layer>.lora_A" (rank, ...) and "<layer>.lora_B" (c', rank, ...).
        config: rank, alpha and targets of the training.
        base: record of the changed weights, see `latentsync.models.checkpoint.base_record`.
        recorded: configuration that the weights record, such as {"resolution": 256}.
    """

    path: Path
    weights: Mapping[str, torch.Tensor]
    config: LoraConfig
    base: Mapping[str, str]
    recorded: Mapping[str, Any]

    def merged(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return base weights with the low-rank changes added in float32, in the dtype of the base weights.

        Raises:
            CheckpointError: the base has no such layer, or one of another shape.
        """
        result = dict(weights)
        for name in self.weights:
            if name.endswith(_DOWN):
                layer = name.removesuffix(_DOWN)
                result[f"{layer}.weight"] = self._merged_layer(layer, result.get(f"{layer}.weight"))
        return result

    def _merged_layer(self, layer: str, weight: torch.Tensor | None) -> torch.Tensor:
        down, up = self.weights[layer + _DOWN], self.weights[layer + _UP]
        if weight is None:
            raise CheckpointError(f"checkpoint {self.path} changes {layer}, which its base lacks: {_AGAIN}")
        if (len(weight), *weight.shape[1:]) != (len(up), *down.shape[1:]) or down.ndim != weight.ndim:
            raise CheckpointError(
                f"checkpoint {self.path} changes a {layer} of shape {(len(up), *down.shape[1:])}, that of its base has "
                f"{tuple(weight.shape)}: {_AGAIN}"
            )
        change = (up.float().flatten(1) @ down.float().flatten(1)).reshape(weight.shape)
        return (weight.float() + self.config.scale * change).to(weight.dtype)


def save_lora(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    config: LoraConfig,
    base: Mapping[str, Any],
    global_step: int,
    recorded: Mapping[str, Any],
) -> None:
    """Write low-rank weights atomically, in float32.

    Args:
        path: the file.
        weights: see `LoraUNet.state_dict`.
        config: rank and layers.
        base: result of `latentsync.models.checkpoint.base_record`.
        global_step: number of training steps.
        recorded: configuration to record, such as {"resolution": 256}.
    """
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "rank": str(config.rank),
        "alpha": "" if config.alpha is None else repr(config.alpha),
        "targets": json.dumps(config.targets),
        "base": json.dumps(base["base"]),
        "global_step": str(global_step),
        "config": json.dumps(dict(recorded)),
    }
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_lora(path: Path) -> LoraFile | None:
    """Read a file of low-rank changes; None if it is another safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                return None
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} is missing or damaged: give an existing .safetensors file") from error
    if metadata.get("version") != _VERSION:
        raise CheckpointError(f"checkpoint {path} was written by another version of this program: {_AGAIN}")
    try:
        alpha = metadata["alpha"]
        targets = [str(target) for target in json.loads(metadata["targets"])]
        config = LoraConfig(int(metadata["rank"]), float(alpha) if alpha else None, targets)
        base, recorded = dict(json.loads(metadata["base"])), dict(json.loads(metadata["config"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: {_AGAIN}") from error
    weights = plain_tensors(weights, path)
    _check_pairs(path, weights, config)
    return LoraFile(path, weights, config, base, recorded)


def _check_pairs(path: Path, weights: Mapping[str, torch.Tensor], config: LoraConfig) -> None:
    """Raise CheckpointError unless every layer has two matrices of the recorded rank."""
    layers = {name.removesuffix(_DOWN).removesuffix(_UP) for name in weights}
    for layer in layers:
        down, up = weights.get(layer + _DOWN), weights.get(layer + _UP)
        if down is None or up is None or min(down.ndim, up.ndim) < 2 or (len(down), up.shape[1]) != (config.rank,) * 2:
            raise CheckpointError(f"checkpoint {path} has no two matrices of rank {config.rank} for {layer}: {_AGAIN}")
        if math.prod(up.shape[2:]) != 1:
            raise CheckpointError(f"checkpoint {path} has a second matrix of {layer} with a kernel: {_AGAIN}")
    if not layers:
        raise CheckpointError(f"checkpoint {path} has no weights: {_AGAIN}")
