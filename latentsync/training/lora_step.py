"""Training step of the U-Net's low-rank changes: exports them as a file that names the weights they change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentsync.losses.loss_stack import LossStack
from latentsync.models.checkpoint import base_record
from latentsync.models.lora import LoraConfig, LoraUNet
from latentsync.models.lora_file import save_lora
from latentsync.models.vae import LatentCodec
from latentsync.training.unet_step import DiffusionConfig, UNetStep


class LoraStep(UNetStep):
    """`UNetStep` that trains and exports low-rank changes.

    Args:
        unet: the network with its low-rank changes.
        lora: rank and layers, for the exported file.
        initial: weights that are changed, which the exported file requires.
        codec, losses, diffusion, resolution, checkpoint_decode: see `UNetStep`.
    """

    export_name = "latentsync_lora.safetensors"

    def __init__(
        self,
        unet: LoraUNet,
        lora: LoraConfig,
        initial: Path,
        codec: LatentCodec,
        losses: LossStack,
        diffusion: DiffusionConfig,
        resolution: int,
        checkpoint_decode: bool = False,
    ) -> None:
        super().__init__(unet, codec, losses, diffusion, resolution, checkpoint_decode)
        self.lora, self.base = lora, initial
        self._base_record = base_record(initial)

    def export(self, state_dict: Mapping[str, Any], path: Path, global_step: int, history: Mapping[str, Any]) -> None:
        """Write the low-rank changes."""
        save_lora(path, state_dict, self.lora, self._base_record, global_step, {"resolution": self.resolution})
