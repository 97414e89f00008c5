"""Reading and writing weights in the published format: {"global_step": int, "state_dict": {...}} and more keys."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from latentsync.errors import CheckpointError
from latentsync.models.checkpoint_fit import fit_unet
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.storage.atomic import atomic_write
from latentsync.storage.weight_file import check_fit, plain_tensors, read_safetensors, read_weight_file

logger = logging.getLogger(__name__)


def save_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, torch.Tensor],
    global_step: int,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes weights in the published format; the file appears whole or not at all.

    Args:
        path: where to; its folder is made when absent.
        state_dict: the weights.
        global_step: training steps done.
        extra: further top-level keys of plain data, such as {"config": {"resolution": 256}} or the loss lists.
        dtype: floating-point tensors are stored so (None: as they are).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: _stored(tensor, dtype) for name, tensor in state_dict.items()}
    with atomic_write(path) as beside:
        torch.save({"global_step": global_step, "state_dict": weights, **(extra or {})}, beside)


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
    """Builds the U-Net a configuration describes and fills it from a file in the published format.

    Args:
        config: what the U-Net is made of.
        path: the weights file, stored in any floating-point format; .pt, or diffusers' .safetensors.
        device: where the network goes.
        dtype: format of its weights.
        resolution: pixels of a face crop; refused when the file records another.
        allow_new_layers: for training: where channels or audio width differ, `conv_in`, `conv_out` and the
            `attn2.to_k/to_v` tensors concerned keep their initial values and the log says so; without it (inference)
            such a file is refused.
        allow_missing: for training: lists of modules ("motion_modules.") whose members may be absent from the file and
            keep their initial values, and the log says so; a member of which the file has a part is refused.
        allow_unused: for training: the same for members that the file has and the configuration does not.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, recorded = _weights_and_record(path)
    _check_resolution(path, recorded, resolution)
    with torch.device("meta"):
        unet = UNet3DConditionModel.from_unet_config(config)
    weights = fit_unet(unet, config, weights, path, allow_new_layers, allow_missing, allow_unused)
    if len(weights) < len(unet.state_dict()):
        unet = UNet3DConditionModel.from_unet_config(config)
    # A meta parameter takes over the file's tensor, dtype included; the whole model is converted once, below.
    unet.load_state_dict(weights, strict=False, assign=True)
    # Not unet.to(): diffusers' own warns about modules to keep in float32 even where there are none.
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
    """Compare the names and shapes of a U-Net's file with its network, as `load_unet` does, without loading it.

    Args:
        unet: the network, which may be on the meta device.
        config: its configuration.
        path, allow_new_layers, allow_missing, allow_unused: as for `load_unet`.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _weights_and_record(path)
    fit_unet(unet, config, weights, path, allow_new_layers, allow_missing, allow_unused)


def check_syncnet(syncnet: nn.Module, path: str | Path) -> None:
    """Compare the names and shapes of a SyncNet's file with its network, which may be on the meta device.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _weights_and_record(path)
    check_fit(syncnet.state_dict(), weights, path)


def load_syncnet(
    config: SyncNetConfig, path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StableSyncNet:
    """Builds the SyncNet a configuration describes and fills it from a file in the published format.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
    """
    weights, _ = _weights_and_record(path)
    with torch.device("meta"):
        syncnet = StableSyncNet(config)
    check_fit(syncnet.state_dict(), weights, path)
    syncnet.load_state_dict(weights, assign=True)
    return syncnet.to(device=device, dtype=dtype)


def _weights_and_record(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The file's tensors by name, and the configuration it records (empty in the published files)."""
    if Path(path).suffix == ".safetensors":
        return read_safetensors(path), {}
    content = read_weight_file(path)
    weights = content.get("state_dict")
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(f"checkpoint {path} has no state_dict of tensors: give a LatentSync .pt file")
    recorded = content.get("config")
    return plain_tensors(weights, path), recorded if isinstance(recorded, dict) else {}


def _check_resolution(path: str | Path, recorded: Mapping[str, Any], resolution: int | None) -> None:
    made_for = recorded.get("resolution")
    if resolution is not None and made_for is not None and made_for != resolution:
        raise CheckpointError(
            f"checkpoint {path} was made for {made_for} px, the configuration says data.resolution {resolution}: "
            f"use a configuration for {made_for} px, or other weights"
        )


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.contiguous()
