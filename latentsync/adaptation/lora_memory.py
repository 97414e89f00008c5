"""Count the memory of an adaptation by LoRA on the meta device: nothing is loaded or allocated."""

from dataclasses import dataclass

import torch
from torch import nn

from latentsync.adaptation.network import add_lora, base_dtype, training_config
from latentsync.device import building_on_meta, frozen_dtype
from latentsync.errors import CheckpointError, ConfigError
from latentsync.models.lora import LoraUNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import read_vae_shape
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.training.activation_memory import recompute_with_fused_attention, step_bytes
from latentsync.training.dry_run import MemoryEstimate, estimate_memory
from latentsync.training.trainer_config import TrainerConfig
from latentsync.weights import find_vae

CARD_GIB = 12.0
RESERVE_GIB = 1.5
"""Kept free for the CUDA context, workspaces of cuDNN and cuBLAS, and fragmentation, which are not counted."""

VAE_PARAMETERS = 83_653_863
"""Of the published VAE; loaded for the features and again for the checks."""
WHISPER_PARAMETERS = 8_208_384
"""Of Whisper tiny's encoder, float32; loaded likewise."""
LANDMARK_PARAMETERS = 46_333_614
"""Of face-alignment's two networks, float32."""

_VAE_FACTOR = 8
_AUDIO_TOKENS = 50
"""Tokens of a frame: ten rows of the five layers of Whisper tiny."""
_GIB = 1024**3


@dataclass(frozen=True)
class LoraMemory:
    """Memory of a training step, in bytes.

    Attributes:
        dtype: format of the frozen U-Net.
        base: frozen U-Net.
        trained: low-rank weights, their gradients, optimizer state and moving average.
        activations: peak of all other tensors of a forward and backward pass.
        frozen: the other networks, of the published sizes.
    """

    dtype: torch.dtype
    base: int
    trained: MemoryEstimate
    activations: int
    frozen: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.base + self.trained.total + self.activations + self.frozen

    @property
    def fits(self) -> bool:
        """True if `CARD_GIB` suffice."""
        return self.total / _GIB + RESERVE_GIB <= CARD_GIB

    def __str__(self) -> str:
        trained = ", ".join(f"{name} {_gib(size)}" for name, size in vars(self.trained).items() if size)
        verdict = "fits into" if self.fits else "does not fit into"
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"{_gib(self.total)} GiB (frozen U-Net in {dtype} {_gib(self.base)}; LoRA: {trained}; activations "
            f"{_gib(self.activations)}; VAE, audio encoder and landmarks {_gib(self.frozen)}); with "
            f"{RESERVE_GIB:g} GiB kept free it {verdict} {CARD_GIB:g} GiB"
        )


def describe_memory(run: AdaptationRun, device: torch.device) -> list[str]:
    """Return the memory of an adaptation by LoRA in half precision, and on this device if it differs; else nothing.

    Raises:
        ConfigError: the U-Net cannot take images of this resolution.
    """
    if run.adaptation.lora.rank is None:
        return []
    multiple = _vae_factor(run) * 2 ** (len(run.model.block_out_channels) - 1)
    if run.data.resolution % multiple:
        raise ConfigError(f"data.resolution {run.data.resolution} is not a multiple of {multiple}: choose another")
    half, here = frozen_dtype("bf16"), base_dtype(run, device)
    network = meta_network(run, half)
    num_trained = sum(weight.numel() for weight in network.adapter_weights().values())
    settings = f"{run.data.resolution} px, batch size {run.training.batch_size}"
    lines = [f"LoRA: {num_trained / 1e6:.1f} M parameters train"]
    lines.append(f"memory at {settings}, counted: {_counted(run, network, device, half)}")
    if here != half:
        lines.append(f"memory on this device: {_counted(run, meta_network(run, here), device, here)}")
    losses = run.losses
    if max(losses.sync.weight, losses.perceptual.weight, losses.trepa.weight) > 0:
        lines.append("the networks and activations of the losses on pixels are not counted")
    return lines


def meta_network(run: AdaptationRun, dtype: torch.dtype) -> LoraUNet:
    """Return the network of an adaptation on the meta device, in training mode."""
    with building_on_meta():
        network = add_lora(UNet3DConditionModel.from_unet_config(run.model), run, dtype)
    nn.Module.to(network, device="meta")  # tables of positions are created on the CPU
    if run.training.gradient_checkpointing:
        network.enable_gradient_checkpointing(recompute_with_fused_attention)
    return network.train()


def _counted(run: AdaptationRun, network: LoraUNet, device: torch.device, dtype: torch.dtype) -> LoraMemory:
    factor = _vae_factor(run)
    side = run.data.resolution // factor
    frames = (run.training.batch_size, run.data.num_frames)
    sample = torch.empty(frames[0], run.model.in_channels, frames[1], side, side, device="meta")
    audio = torch.empty(*frames, _AUDIO_TOKENS, run.model.cross_attention_dim, device="meta")
    config = training_config(run, device)
    frozen = (torch.finfo(dtype).bits // 8 + 2) * VAE_PARAMETERS + 4 * (2 * WHISPER_PARAMETERS + LANDMARK_PARAMETERS)
    return count_memory(network, config, sample, audio, dtype, frozen)


def count_memory(
    network: LoraUNet,
    config: TrainerConfig,
    sample: torch.Tensor,
    audio: torch.Tensor,
    dtype: torch.dtype,
    frozen: int = 0,
) -> LoraMemory:
    """Count a training step; on the meta device nothing is allocated.

    Args:
        network: in training mode; its gradients are set.
        config: of the training.
        sample, audio: inputs of the U-Net.
        dtype: of the frozen U-Net.
        frozen: bytes of other networks.
    """
    weights = network.adapter_weights()
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    gradients = [weight.grad for weight in weights.values() if weight.grad is not None]
    own = [*network.parameters(), *network.buffers()]
    trained = set(map(id, weights.values()))
    timestep = torch.zeros(len(sample), dtype=torch.long, device=sample.device)
    existing = [*own, *gradients, sample, audio, timestep]
    return LoraMemory(
        dtype=dtype,
        base=sum(tensor.nbytes for tensor in own if id(tensor) not in trained),
        trained=estimate_memory(network, config, "no"),
        activations=step_bytes(existing, lambda: network(sample, timestep, audio).float().square().mean()),
        frozen=frozen,
    )


def _vae_factor(run: AdaptationRun) -> int:
    """Return the downsampling factor of the VAE; that of the published one if the VAE is missing."""
    try:
        return read_vae_shape(find_vae(run.vae)).factor
    except CheckpointError:
        return _VAE_FACTOR


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f}"
