"""Metrics on held-out synthetic clips that both the training of the demo networks and their evaluation compute."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from demo.synthetic.clip_set import Clip
from latentsync.judges.crop_measures import (
    chroma_error,
    correlation,
    mouth_psnr_db,
    psnr_db,
    sharpness,
    to_crops,
    to_images,
)
from latentsync.judges.mouth_reader import read_mouth
from latentsync.models.vae import LatentCodec

_FRAMES = (20, 70, 120)
_BATCH_SIZE = 8


def sample_frames(clips: Sequence[Clip]) -> np.ndarray:
    """Return frames 20, 70 and 120 of every clip that is long enough, stacked as (n, R, R, 3) uint8."""
    return np.concatenate([clip.crops[[frame for frame in _FRAMES if frame < len(clip.crops)]] for clip in clips])


@torch.inference_mode()
def reconstruct(codec: LatentCodec, crops: np.ndarray) -> np.ndarray:
    """Encode crops (n, R, R, 3) uint8 with the VAE and decode them again, in batches of eight."""
    parts = [to_images(crops[i : i + _BATCH_SIZE]) for i in range(0, len(crops), _BATCH_SIZE)]
    return np.concatenate([to_crops(codec.decode(codec.encode(part))) for part in parts])


def image_metrics(originals: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """Return the mean PSNR in dB and the mean Lab chroma error of decoded images (n, h, w, 3) uint8."""
    return {
        "psnr_db": float(np.mean([psnr_db(a, b) for a, b in zip(originals, decoded, strict=True)])),
        "chroma_error": chroma_error(originals, decoded),
    }


def reconstruction_metrics(originals: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """Return `image_metrics`, PSNR and relative sharpness of all mouth regions together, and the number of images."""
    return {
        **image_metrics(originals, decoded),
        "mouth_psnr_db": mouth_psnr_db(originals, decoded),
        "sharpness": sharpness(decoded) / sharpness(originals),
        "num_pictures": len(originals),
    }


def mouth_reading_metrics(reader: nn.Module, clips: Sequence[Clip]) -> dict[str, float]:
    """Return the correlation of the mouth reader's predictions with the rendered ground truth.

    Opening and width are correlated over the frames of all clips; `opening_worst_clip` is the lowest per-clip value.
    """
    read = [read_mouth(reader, clip.crops) for clip in clips]
    truth = [clip.frames_track for clip in clips]
    per_clip = [correlation(seen[:, 0], real[:, 0]) for seen, real in zip(read, truth, strict=True)]
    opening, width = (correlation(np.concatenate(read)[:, i], np.concatenate(truth)[:, i]) for i in range(2))
    return {"opening": opening, "width": width, "opening_worst_clip": min(per_clip), "num_clips": len(per_clip)}


def track_correlations(predicted: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the correlations of predicted and true mouth openings and widths, (n, 2) each."""
    opening, width = F.cosine_similarity(predicted - predicted.mean(0), target - target.mean(0), dim=0)
    return {"opening_correlation": opening, "width_correlation": width}
