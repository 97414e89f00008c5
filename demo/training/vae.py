"""The demo VAE: a small AutoencoderKL for 128 px crops with factor 8.

It has one norm group: a group norm removes the mean and scale of each group, and with few channels per group the
colour with them. Colours also need the strong colour augmentation and the textures of `VaeImages`, and the chroma and
coarse terms of the loss.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import nn

from demo.synthetic.clip_metrics import reconstruct, reconstruction_metrics, sample_frames
from demo.synthetic.clip_set import Clip
from demo.training.demo_network import ClipItems, DemoNetwork, DemoRun
from demo.training.vae_images import VaeImages
from latentsync.data.batching import ItemKey, collate
from latentsync.losses.reconstruction import mouth_pixel_weight, reconstruction_loss, texture_loss
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.training.optimizers import select_trainable
from latentsync.training.training_step import StepContext, StepResult
from latentsync.weights import find_initial_vae

logger = logging.getLogger(__name__)

_RESOLUTION = 128
_LATENT_CHANNELS = 8
_CHANNELS = (16, 32, 64, 112)
_INITIAL_LOG_VARIANCE = -6.0
_NUM_PROBES = 48
"""Images whose latents determine the scaling factor."""
_SMALL_CROPS_PER_IMAGE = 3


@dataclass
class VaeRun(DemoRun):
    """Root configuration of the demo VAE (`configs/demo/vae.yaml`, `vae_decoder.yaml`).

    Attributes:
        initial: diffusers folder to start from, in the working folder or the repository; None initializes at random.
        trainable: parts of the names of the weights to train; empty for all.
        small_crops_until: share of the training that uses crops of half the side.
        kl_weight: weight of the KL divergence between the latents and a standard normal distribution.
        texture_weight: weight of the difference of the amounts of detail (`texture_loss`).
    """

    initial: str | None = None
    trainable: list[str] = field(default_factory=list)
    small_crops_until: float = 0.55
    kl_weight: float = 3e-5
    texture_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.small_crops_until <= 1 or min(self.kl_weight, self.texture_weight) < 0:
            raise ValueError("small_crops_until must be in [0, 1], kl_weight and texture_weight at least 0")


def build_vae() -> AutoencoderKL:
    """Build an untrained demo VAE whose posterior is nearly deterministic."""
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * len(_CHANNELS),
        "up_block_types": ("UpDecoderBlock2D",) * len(_CHANNELS),
        "block_out_channels": _CHANNELS,
        "layers_per_block": 1,
        "latent_channels": _LATENT_CHANNELS,
        "norm_num_groups": 1,
        "sample_size": _RESOLUTION,
        "mid_block_add_attention": False,
    }
    vae = cast(AutoencoderKL, AutoencoderKL.from_config(config))
    with torch.no_grad():
        parameters = dict(vae.named_parameters())
        parameters["encoder.conv_out.bias"][_LATENT_CHANNELS:] = _INITIAL_LOG_VARIANCE
        parameters["quant_conv.weight"].copy_(torch.eye(2 * _LATENT_CHANNELS)[..., None, None])
        parameters["quant_conv.bias"].zero_()
    return vae


class TrainedVae(nn.Module):
    """VAE whose forward pass returns everything that its loss needs.

    Convolution weights are stored channels last, which is faster on a CPU in bfloat16.

    Args:
        vae: the VAE.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        for parameter in vae.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @property
    def trains_encoder(self) -> bool:
        """True if a weight that the latents depend on is trainable."""
        named = self.vae.named_parameters()
        return any(part.requires_grad for name, part in named if name.startswith(("encoder.", "quant_conv.")))

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode and decode images.

        Args:
            images: (n, 3, h, w) in [-1, 1].
            noise: (n, L, h / 8, w / 8), standard normal; samples the latents.

        Returns:
            Reconstruction (n, 3, h, w); mean and log variance of the unscaled latents, (n, L, h / 8, w / 8).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_encoder):
            latents = encode(self.vae, images)
        sampled = latents.mean + latents.std * noise.to(latents.mean)
        return decode(self.vae, sampled), latents.mean, latents.logvar


def encode(vae: AutoencoderKL, images: torch.Tensor) -> DiagonalGaussianDistribution:
    """Return the distribution of the unscaled latents of images (n, 3, h, w) in [-1, 1]."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Decode unscaled latents to images in about [-1, 1]."""
    return cast(DecoderOutput, vae.decode(cast(torch.FloatTensor, latents))).sample


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, probe: torch.Tensor) -> float:
    """Return the scaling factor that gives the latents of images `probe` (n, 3, h, w) unit standard deviation."""
    return round(1 / float(encode(vae, probe).mean.std()), 5)


def vae_with(state_dict: Mapping[str, torch.Tensor], like: AutoencoderKL) -> AutoencoderKL:
    """Build a VAE of the size of `like` with the given weights, float32 on the CPU."""
    config = {name: value for name, value in like.config.items() if not name.startswith("_")}  # without the folder
    vae = cast(AutoencoderKL, AutoencoderKL.from_config(config))
    vae.load_state_dict(state_dict)
    return vae


def save_vae(vae: AutoencoderKL | AutoencoderTiny, scaling_factor: float, folder: Path) -> None:
    """Write a diffusers folder in fp16 with a scaling factor. The VAE is converted to fp16 in place."""
    vae.register_to_config(scaling_factor=scaling_factor)
    vae.half().save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    logger.info("wrote %s, scaling factor %.4f", folder, scaling_factor)


class VaeStep:
    """Training step: reconstruction error, with most weight on the mouth, plus the KL divergence of the latents.

    Args:
        network: the VAE; if its encoder is frozen, the scaling factor does not change.
        probe: images (n, 3, R, R) whose latents determine the scaling factor.
        small_crops_until: share of the training that uses crops of half the side, three of each image.
        kl_weight: weight of the KL divergence.
        texture_weight: weight of `texture_loss`.
    """

    export_name = "vae"

    def __init__(
        self,
        network: TrainedVae,
        probe: torch.Tensor,
        small_crops_until: float,
        kl_weight: float,
        texture_weight: float = 0.0,
    ) -> None:
        self.network = network
        self.probe = probe
        self.small_crops_until = small_crops_until
        self.kl_weight = kl_weight
        self.texture_weight = texture_weight

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `VaeImages`."""
        images = batch["image"]
        weight = mouth_pixel_weight(images.shape[-1]).to(images).expand(len(images), -1, -1, -1)
        generators = [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()]
        if context.fraction < self.small_crops_until:
            images, weight = small_crops(images, weight, generators)
        images = images.contiguous(memory_format=torch.channels_last)
        noise = self._noise(generators, len(images) // len(generators), images)
        output, mean, log_variance = (part.float() for part in model(images, noise))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = reconstruction_loss(output, images, weight) + self.kl_weight * kl
        if self.texture_weight:
            loss = loss + self.texture_weight * texture_loss(output, images, weight)
        return StepResult(loss, {"psnr_db": mean_psnr_db(output.detach(), images), "kl": kl.detach()})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write a diffusers folder in half precision."""
        state = {name.removeprefix("vae."): value for name, value in state_dict.items()}
        vae = vae_with(state, self.network.vae)
        scale = latent_scale(vae, self.probe) if self.network.trains_encoder else float(vae.config["scaling_factor"])
        save_vae(vae, scale, path)

    def _noise(self, generators: list[torch.Generator], per_item: int, images: torch.Tensor) -> torch.Tensor:
        """Draw the latents' noise (n, L, h, w) item by item on the CPU."""
        config = self.network.vae.config
        factor = 2 ** (len(config["block_out_channels"]) - 1)
        shape = (per_item, config["latent_channels"], images.shape[-2] // factor, images.shape[-1] // factor)
        return torch.cat([torch.randn(shape, generator=generator) for generator in generators]).to(images)


def small_crops(
    images: torch.Tensor, weight: torch.Tensor, generators: list[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut random crops of half the side out of images and their pixel weights.

    Args:
        images: (b, 3, R, R).
        weight: (b, 1, R, R).
        generators: one per image.

    Returns:
        Crops (3 b, 3, R / 2, R / 2) and weights (3 b, 1, R / 2, R / 2); those of one image are consecutive.
    """
    size = images.shape[-1] // 2
    cut_images, cut_weights = [], []
    for item, generator in enumerate(generators):
        corners = torch.randint(0, images.shape[-1] - size + 1, (_SMALL_CROPS_PER_IMAGE, 2), generator=generator)
        for y, x in corners.tolist():
            cut_images.append(images[item, :, y : y + size, x : x + size])
            cut_weights.append(weight[item, :, y : y + size, x : x + size])
    return torch.stack(cut_images), torch.stack(cut_weights)


def mean_psnr_db(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean PSNR of images (n, 3, h, w) in [-1, 1]."""
    squared = (output - target).square().mean(dim=(1, 2, 3)) / 4
    return -10 * squared.log10().mean()


class ReconstructionValidator:
    """Reconstruction of three frames of every held-out clip."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the metrics of a `TrainedVae`."""
        codec = LatentCodec(model.get_submodule("vae"))  # type: ignore[arg-type]
        originals = sample_frames(self.clips)
        return reconstruction_metrics(originals, reconstruct(codec, originals))


def probe_images(items: ClipItems) -> torch.Tensor:
    """Return the images (n, 3, R, R) that determine the scaling factor, equal for equal clips and seed."""
    keys = [ItemKey(index % len(items), index // len(items)) for index in range(_NUM_PROBES)]
    return collate([items[key] for key in keys])["image"]


def _build_network(run: VaeRun, initial: Path | None) -> TrainedVae:
    network = TrainedVae(build_vae() if initial is None else cast(AutoencoderKL, load_vae(initial).vae))
    select_trainable(network, run.trainable)
    return network


def _build_step(run: VaeRun, network: TrainedVae, items: ClipItems) -> VaeStep:
    return VaeStep(network, probe_images(items), run.small_crops_until, run.kl_weight, run.texture_weight)


VAE: DemoNetwork[VaeRun, TrainedVae] = DemoNetwork(
    description="Train the VAE.",
    schema=VaeRun,
    build_model=_build_network,
    build_dataset=VaeImages,
    build_step=_build_step,
    build_validator=ReconstructionValidator,
    find_initial=find_initial_vae,
)
