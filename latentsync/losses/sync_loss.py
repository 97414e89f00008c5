"""Sync loss: binary cross-entropy on the cosine similarity of a frozen SyncNet's audio and video embeddings."""

import torch
from torch.nn import functional as F

from latentsync.face.mask import lower_half
from latentsync.losses.loss_stack import Prediction
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput

_MIN_COSINE = 1e-4


class SyncLoss:
    """Binary cross-entropy of the similarity of audio and predicted frames against 1 (arXiv 2412.09262).

    In pixel space the frames are decoded and resized (bicubic) to the SyncNet's resolution; in latent space the clean
    estimate is used unchanged. Items whose audio was dropped do not count.

    Args:
        weight: factor in the weighted sum.
        syncnet: the network; it is frozen here.
        syncnet_input: its input window.
        antialias: resize larger frames with antialiasing; the published resize has none.
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
        """Return the loss, scalar float32. Raises ValueError if the prediction has no mel."""
        if prediction.mel is None:
            raise ValueError("the sync loss needs the mel of the window's audio")
        if self.syncnet_input.latent_space:
            frames = prediction.clean_estimate.transpose(1, 2)
        else:
            frames = self._resize(prediction.pixels)
        if self.syncnet_input.lower_half:
            frames = lower_half(frames)
        dtype = self.syncnet.audio_encoder.conv_in.weight.dtype
        video, audio = self.syncnet(frames.flatten(1, 2).to(dtype), prediction.mel.to(dtype))
        cosine = F.cosine_similarity(video.float(), audio.float(), dim=1)
        losses = -clamp_keep_gradient(cosine, _MIN_COSINE, 1).log()
        if prediction.has_audio is None:
            return losses.mean()
        return (losses * prediction.has_audio).sum() / prediction.has_audio.sum().clamp(min=1)

    def _resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Resize frames (b, f, 3, R, R) to the SyncNet's resolution."""
        side = self.syncnet_input.resolution
        if frames.shape[-1] == side:
            return frames
        flat = F.interpolate(
            frames.flatten(0, 1), (side, side), mode="bicubic", align_corners=False, antialias=self.antialias
        )
        return flat.unflatten(0, frames.shape[:2])


def clamp_keep_gradient(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Clamp values to [low, high] with gradient 1 everywhere.

    The gradient of `clamp` is 0 outside the interval, and at its ends it depends on the version of torch (1 in 2.13,
    0 in 2.15). Here a cosine at an end, or moved past it by rounding, keeps its gradient.
    """
    return values + (values.detach().clamp(low, high) - values.detach())
