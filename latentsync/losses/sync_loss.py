"""How little a frozen StableSyncNet believes that the predicted frames go with the sound."""

import torch
from torch.nn import functional as F

from latentsync.losses.limited import limited
from latentsync.losses.prediction import Prediction
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput

_SMALLEST_COSINE = 1e-4


class SyncLoss:
    """Binary cross-entropy of the cosine similarity of picture and sound against 1 (arXiv 2412.09262).

    In pixel space the frames are decoded and resized (bicubic) to the SyncNet's resolution; in latent space the clean
    estimate is looked at as it is.
    """

    name = "sync"
    needs_target_pixels = False
    needs_mel = True

    def __init__(self, weight: float, syncnet: StableSyncNet, syncnet_input: SyncNetInput, antialias: bool = True):
        self.weight = weight
        self.syncnet = syncnet.eval().requires_grad_(False)
        self.syncnet_input = syncnet_input
        self.antialias = antialias
        self.needs_pixels = not syncnet_input.latent_space

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32."""
        if prediction.mel is None:
            raise ValueError("the sync loss wants the mel of the window's sound")
        if self.syncnet_input.latent_space:
            frames = prediction.clean_estimate.transpose(1, 2)
        else:
            frames = self._sized(prediction.pixels)
        if self.syncnet_input.lower_half:
            frames = lower_half(frames)
        dtype = self.syncnet.audio_encoder.conv_in.weight.dtype
        seen, heard = self.syncnet(frames.flatten(1, 2).to(dtype), prediction.mel.to(dtype))
        losses = -limited(F.cosine_similarity(seen.float(), heard.float(), dim=1), _SMALLEST_COSINE, 1).log()
        if prediction.is_heard is None:
            return losses.mean()
        return (losses * prediction.is_heard).sum() / prediction.is_heard.sum().clamp(min=1)

    def _sized(self, frames: torch.Tensor) -> torch.Tensor:
        side = self.syncnet_input.resolution
        if frames.shape[-1] == side:
            return frames
        flat = F.interpolate(
            frames.flatten(0, 1), (side, side), mode="bicubic", align_corners=False, antialias=self.antialias
        )
        return flat.unflatten(0, frames.shape[:2])


def lower_half(frames: torch.Tensor) -> torch.Tensor:
    """Frames (..., h, w) to their lower half (..., h / 2, w)."""
    return frames[..., frames.shape[-2] // 2 :, :]
