"""How the tensors of a weights file fit a network: every name and shape, but for what training may allow."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from latentsync.errors import CheckpointError
from latentsync.models.unet_config import UNetConfig
from latentsync.storage.weight_file import abbreviate, check_fit

logger = logging.getLogger(__name__)

WHISPER_SIZES = {384: "whisper tiny", 512: "whisper base", 768: "whisper small", 1024: "whisper medium"}
NEW_LAYERS = {
    "in_channels": ("conv_in.",),
    "out_channels": ("conv_out.",),
    "cross_attention_dim": ("attn2.to_k.", "attn2.to_v."),
}


def fit_unet(
    unet: nn.Module,
    config: UNetConfig,
    weights: dict[str, torch.Tensor],
    path: str | Path,
    allow_new_layers: bool,
    allow_missing: Sequence[str],
    allow_unused: Sequence[str],
) -> dict[str, torch.Tensor]:
    """The file's tensors that the network takes; what is left out on either side is logged, any other fault raised."""
    differing = _differing_sizes(config, weights)
    if differing and not allow_new_layers:
        raise CheckpointError(f"checkpoint {path} does not fit the configuration: {_explain(differing)}")
    expected = unet.state_dict()
    unused = {name for name in weights if name not in expected and _in_absent_member(name, expected, allow_unused)}
    if unused:
        logger.warning(
            "%s: %d tensors have no place in this network: %s", path, len(unused), abbreviate(sorted(unused))
        )
    weights = {name: tensor for name, tensor in weights.items() if name not in unused}
    weights = _without_new_layers(weights, differing, path)
    new_layers = tuple(prefix for key in differing for prefix in NEW_LAYERS[key])
    fresh = {
        name
        for name in expected
        if name not in weights and (_belongs(name, new_layers) or _in_absent_member(name, weights, allow_missing))
    }
    check_fit({name: tensor for name, tensor in expected.items() if name not in fresh}, weights, path)
    if fresh:
        names = abbreviate([name for name in expected if name in fresh])
        logger.warning("%s: %d tensors start from initial values: %s", path, len(fresh), names)
    return weights


def _differing_sizes(config: UNetConfig, weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """Configuration keys whose value in the file is another: {key: (file's, configuration's)}."""
    audio_key = next((name for name in weights if name.endswith("attn2.to_k.weight")), "")
    places = {"in_channels": ("conv_in.weight", 1), "out_channels": ("conv_out.weight", 0)}
    if config.add_audio_layer:
        places["cross_attention_dim"] = (audio_key, 1)
    differing = {}
    for key, (name, axis) in places.items():
        if name in weights and weights[name].ndim > 1 and weights[name].shape[axis] != getattr(config, key):
            differing[key] = (weights[name].shape[axis], getattr(config, key))
    return differing


def _explain(differing: Mapping[str, tuple[int, int]]) -> str:
    reasons = []
    for key, (in_file, in_config) in differing.items():
        size = f" ({WHISPER_SIZES[in_file]})" if key == "cross_attention_dim" and in_file in WHISPER_SIZES else ""
        name = "audio width" if key == "cross_attention_dim" else key.replace("_", " ")
        reasons.append(f"made for {name} {in_file}{size}, model.{key} says {in_config}")
    return "; ".join(reasons) + ": use the configuration these weights were trained with, or other weights"


def _without_new_layers(
    weights: dict[str, torch.Tensor], differing: Mapping[str, tuple[int, int]], path: str | Path
) -> dict[str, torch.Tensor]:
    for key, (in_file, in_config) in differing.items():
        parts = NEW_LAYERS[key]
        weights = {name: tensor for name, tensor in weights.items() if not _belongs(name, parts)}
        logger.warning(
            "%s has %s %d, the configuration %d: %s start from initial values",
            path, key, in_file, in_config, " and ".join(part.rstrip(".") for part in parts),
        )  # fmt: skip
    return weights


def _belongs(name: str, parts: Sequence[str]) -> bool:
    return any(name.startswith(part) or f".{part}" in name for part in parts)


def _in_absent_member(name: str, others: Mapping[str, torch.Tensor], lists: Sequence[str]) -> bool:
    """True if `name` belongs to a member of one of these module lists of which `others` has no tensor at all."""
    for part in lists:
        head, found, tail = name.partition(part)
        if found:
            member = f"{head}{part}{tail.partition('.')[0]}."
            return not any(other.startswith(member) for other in others)
    return False
