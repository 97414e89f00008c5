"""How little a frozen StableSyncNet believes that the predicted frames go with the sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch.nn import functional as F

from latentsync.config import read_yaml
from latentsync.errors import ConfigError
from latentsync.losses.limited import limited
from latentsync.losses.prediction import Prediction
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig

_SMALLEST_COSINE = 1e-4


@dataclass(frozen=True)
class SyncInput:
    """What a SyncNet looks at, from the `data:` section of its configuration.

    Attributes:
        resolution: side of the crop in pixels.
        num_frames: frames of a window.
        latent_space: latents instead of pixels.
        lower_half: the lower half of the crop instead of the whole.
    """

    resolution: int = 256
    num_frames: int = 16
    latent_space: bool = False
    lower_half: bool = True


class SyncLoss:
    """Binary cross-entropy of the cosine similarity of picture and sound against 1 (arXiv 2412.09262).

    In pixel space the frames are decoded and resized (bicubic) to the SyncNet's resolution; in latent space the clean
    estimate is looked at as it is.
    """

    name = "sync"
    needs_target_pixels = False
    needs_mel = True

    def __init__(self, weight: float, syncnet: StableSyncNet, look: SyncInput, antialias: bool = True):
        self.weight = weight
        self.syncnet = syncnet.eval().requires_grad_(False)
        self.look = look
        self.antialias = antialias
        self.needs_pixels = not look.latent_space

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32."""
        if prediction.mel is None:
            raise ValueError("the sync loss wants the mel of the window's sound")
        frames = prediction.clean_estimate.transpose(1, 2) if self.look.latent_space else self._sized(prediction.pixels)
        if self.look.lower_half:
            frames = lower_half(frames)
        dtype = self.syncnet.audio_encoder.conv_in.weight.dtype
        seen, heard = self.syncnet(frames.flatten(1, 2).to(dtype), prediction.mel.to(dtype))
        losses = -limited(F.cosine_similarity(seen.float(), heard.float(), dim=1), _SMALLEST_COSINE, 1).log()
        if prediction.is_heard is None:
            return losses.mean()
        return (losses * prediction.is_heard).sum() / prediction.is_heard.sum().clamp(min=1)

    def _sized(self, frames: torch.Tensor) -> torch.Tensor:
        side = self.look.resolution
        if frames.shape[-1] == side:
            return frames
        flat = F.interpolate(
            frames.flatten(0, 1), (side, side), mode="bicubic", align_corners=False, antialias=self.antialias
        )
        return flat.unflatten(0, frames.shape[:2])


def lower_half(frames: torch.Tensor) -> torch.Tensor:
    """Frames (..., h, w) to their lower half (..., h / 2, w)."""
    return frames[..., frames.shape[-2] // 2 :, :]


def read_syncnet_config(path: Path) -> tuple[SyncNetConfig, SyncInput]:
    """The two sections of a SyncNet's configuration that matter for looking at frames with it.

    Raises:
        ConfigError: the file is missing, or a value does not fit.
    """
    content = read_yaml(path)
    data = content.get("data") or OmegaConf.create({})
    fields = SyncInput.__dataclass_fields__
    known = {str(key): value for key, value in data.items() if key in fields} if isinstance(data, DictConfig) else {}
    try:
        model = OmegaConf.merge(OmegaConf.structured(SyncNetConfig), content.get("model") or {})
        look = OmegaConf.merge(OmegaConf.structured(SyncInput), known)
        return cast(SyncNetConfig, OmegaConf.to_object(model)), cast(SyncInput, OmegaConf.to_object(look))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
