"""Weights in the published format: {"global_step": int, "state_dict": {...}}, plus further keys of plain data."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from latentsync.device import building_on_meta
from latentsync.errors import CheckpointError
from latentsync.models.lora_file import read_lora
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import content_key
from latentsync.storage.weight_file import abbreviate, check_fit, plain_tensors, read_safetensors, read_weight_file
from latentsync.weights import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

_WHISPER_SIZES = {384: "whisper tiny", 512: "whisper base", 768: "whisper small", 1024: "whisper medium"}
_LAYERS_BY_KEY = {
    "in_channels": ("conv_in.",),
    "out_channels": ("conv_out.",),
    "cross_attention_dim": ("attn2.to_k.", "attn2.to_v."),
}
"""Layers whose shape depends on a key of the configuration."""


def save_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, torch.Tensor],
    global_step: int,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights atomically in the published format.

    Args:
        path: the file; missing parent folders are created.
        state_dict: the weights.
        global_step: number of training steps.
        extra: further top-level keys of plain data, such as {"config": {"resolution": 256}} or the loss lists.
        dtype: dtype to store floating-point tensors in; None stores them unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: _stored(tensor, dtype) for name, tensor in state_dict.items()}
    with atomic_write(path) as temporary:
        torch.save({"global_step": global_step, "state_dict": weights, **(extra or {})}, temporary)


def base_record(path: Path) -> dict[str, Any]:
    """Return the top-level keys of a file that has only some weights and takes the others from the base at `path`.

    Raises:
        FileError: the base cannot be read.
    """
    name = path.resolve()
    if name.is_relative_to(REPOSITORY_ROOT):
        name = name.relative_to(REPOSITORY_ROOT)
    return {"base": {"path": name.as_posix(), "content": content_key(path)}}


def load_unet(
    config: UNetConfig,
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    resolution: int | None = None,
    allow_new_layers: bool = False,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
) -> UNet3DConditionModel:
    """Build a U-Net and load its weights.

    Args:
        config: sizes and switches of the U-Net.
        path: weights in the published format, of any floating-point dtype, or diffusers' .safetensors: a Stable
            Diffusion 1.5 U-Net has the parameter names of a stage-1 U-Net; or low-rank changes of other weights
            (`latentsync.models.lora_file`), which are merged.
        device: device of the network.
        dtype: dtype of its parameters.
        resolution: side of a face crop in pixels; an error if the file records another.
        allow_new_layers: for training: layers whose channels or audio width differ (`conv_in`, `conv_out`,
            `attn2.to_k/to_v`) keep their initial values with a warning. False (inference) refuses such a file.
        allow_missing: for training: module lists (such as "motion_modules.") whose members may be missing in the file;
            they keep their initial values with a warning. A member that is partly in the file is an error.
        allow_unused: for training: module lists whose members in the file may be missing in the configuration; they
            are ignored with a warning.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, recorded = _read_weights(path)
    _check_resolution(path, recorded, resolution)
    with building_on_meta():
        unet = UNet3DConditionModel.from_unet_config(config)
    weights = _fit_unet(unet, config, weights, path, allow_new_layers, allow_missing, allow_unused)
    if len(weights) < len(unet.state_dict()):
        unet = UNet3DConditionModel.from_unet_config(config)
    # assign=True replaces meta parameters by the file's tensors in the file's dtype; the conversion is below.
    unet.load_state_dict(weights, strict=False, assign=True)
    # nn.Module.to instead of unet.to: diffusers' override warns about modules to keep in float32 even without any.
    to = cast(Callable[..., nn.Module], nn.Module.to)
    to(unet, device=device, dtype=dtype, memory_format=torch.channels_last)
    return unet


def check_unet(
    unet: nn.Module,
    config: UNetConfig,
    path: str | Path,
    allow_new_layers: bool = False,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
) -> None:
    """Check that weights fit a U-Net, as `load_unet` does, without loading them into it.

    Args:
        unet: the network, which may be on the meta device.
        config: its configuration.
        path, allow_new_layers, allow_missing, allow_unused: as for `load_unet`.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _read_weights(path)
    _fit_unet(unet, config, weights, path, allow_new_layers, allow_missing, allow_unused)


def load_syncnet(
    config: SyncNetConfig, path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StableSyncNet:
    """Build a SyncNet and load its weights.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _read_weights(path)
    with building_on_meta():
        syncnet = StableSyncNet(config)
    check_fit(syncnet.state_dict(), weights, path)
    syncnet.load_state_dict(weights, assign=True)
    return syncnet.to(device=device, dtype=dtype)


def check_syncnet(syncnet: nn.Module, path: str | Path) -> None:
    """Check that weights fit a SyncNet, which may be on the meta device, without loading them into it.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _read_weights(path)
    check_fit(syncnet.state_dict(), weights, path)


def _read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return a file's weights by name and the configuration it records (empty in the published files)."""
    if Path(path).suffix == ".safetensors":
        changes = read_lora(Path(path))
        if changes is None:
            return read_safetensors(path), {}
        base_weights, base_recorded = _read_weights(_find_base(path, changes.base))
        return changes.merged(base_weights), {**base_recorded, **changes.recorded}
    content = read_weight_file(path)
    weights = content.get("state_dict")
    recorded = content.get("config")
    recorded = recorded if isinstance(recorded, dict) else {}
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(f"checkpoint {path} has no state_dict of tensors: give a LatentSync .pt file")
    weights = plain_tensors(weights, path)
    if "base" not in content:
        return weights, recorded
    base_weights, base_recorded = _read_weights(_find_base(path, content["base"]))
    strange = [name for name in weights if name not in base_weights]
    if strange:
        raise CheckpointError(f"checkpoint {path} changes {strange[0]}, which its base lacks: create it again")
    return {**base_weights, **weights}, {**base_recorded, **recorded}


def _find_base(path: str | Path, record: Any) -> Path:
    """Return the file that a checkpoint of changed weights is based on: beside it, or where it was.

    Raises:
        CheckpointError: the base is missing, or another file has its name.
    """
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("path", "content")):
        raise CheckpointError(f"checkpoint {path} has a damaged record of its base: create it again")
    base = REPOSITORY_ROOT / record["path"]
    beside = Path(path).with_name(base.name)
    candidates = [file for file in (beside, base) if file.is_file() and not file.samefile(path)]
    if not candidates:
        raise CheckpointError(f"checkpoint {path} has only changes of {record['path']}, which is missing: restore it")
    for file in candidates:
        if content_key(file) == record["content"]:
            return file
    raise CheckpointError(
        f"checkpoint {path} has only changes of {record['path']}, but {candidates[0]} has other contents: "
        "restore the file that it was created from"
    )


def _check_resolution(path: str | Path, recorded: Mapping[str, Any], resolution: int | None) -> None:
    made_for = recorded.get("resolution")
    if resolution is not None and made_for is not None and made_for != resolution:
        raise CheckpointError(
            f"checkpoint {path} was made for {made_for} px, the configuration says data.resolution {resolution}: "
            f"use a configuration for {made_for} px, or other weights"
        )


def _fit_unet(
    unet: nn.Module,
    config: UNetConfig,
    weights: dict[str, torch.Tensor],
    path: str | Path,
    allow_new_layers: bool,
    allow_missing: Sequence[str],
    allow_unused: Sequence[str],
) -> dict[str, torch.Tensor]:
    """Return the weights that the U-Net loads; allowed differences are logged, others raise CheckpointError."""
    differing = _differing_sizes(config, weights)
    if differing and not allow_new_layers:
        raise CheckpointError(f"checkpoint {path} does not fit the configuration: {_explain(differing)}")
    expected = unet.state_dict()
    unused = {name for name in weights if name not in expected and _in_absent_member(name, expected, allow_unused)}
    if unused:
        names = abbreviate(sorted(unused))
        logger.warning("%s: %d tensors have no place in this network: %s", path, len(unused), names)
    weights = {name: tensor for name, tensor in weights.items() if name not in unused}
    weights = _drop_differing_layers(weights, differing, path)
    new_layers = tuple(prefix for key in differing for prefix in _LAYERS_BY_KEY[key])
    fresh = {
        name
        for name in expected
        if name not in weights and (_is_in_layer(name, new_layers) or _in_absent_member(name, weights, allow_missing))
    }
    check_fit({name: tensor for name, tensor in expected.items() if name not in fresh}, weights, path)
    if fresh:
        names = abbreviate([name for name in expected if name in fresh])
        logger.warning("%s: %d tensors start from initial values: %s", path, len(fresh), names)
    return weights


def _differing_sizes(config: UNetConfig, weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """Return {configuration key: (value in the file, value in the configuration)} of the sizes that differ."""
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
        size = f" ({_WHISPER_SIZES[in_file]})" if key == "cross_attention_dim" and in_file in _WHISPER_SIZES else ""
        name = "audio width" if key == "cross_attention_dim" else key.replace("_", " ")
        reasons.append(f"made for {name} {in_file}{size}, model.{key} says {in_config}")
    return "; ".join(reasons) + ": use the configuration these weights were trained with, or other weights"


def _drop_differing_layers(
    weights: dict[str, torch.Tensor], differing: Mapping[str, tuple[int, int]], path: str | Path
) -> dict[str, torch.Tensor]:
    for key, (in_file, in_config) in differing.items():
        layers = _LAYERS_BY_KEY[key]
        weights = {name: tensor for name, tensor in weights.items() if not _is_in_layer(name, layers)}
        logger.warning(
            "%s has %s %d, the configuration %d: %s start from initial values",
            path, key, in_file, in_config, " and ".join(layer.rstrip(".") for layer in layers),
        )  # fmt: skip
    return weights


def _is_in_layer(name: str, layers: Sequence[str]) -> bool:
    return any(name.startswith(layer) or f".{layer}" in name for layer in layers)


def _in_absent_member(name: str, others: Mapping[str, torch.Tensor], module_lists: Sequence[str]) -> bool:
    """Return True if `name` belongs to a member of these module lists of which `others` has no tensor at all."""
    for module_list in module_lists:
        head, found, tail = name.partition(module_list)
        if found:
            member = f"{head}{module_list}{tail.partition('.')[0]}."
            return not any(other.startswith(member) for other in others)
    return False


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.contiguous()
