"""How good a face clip looks: hyperIQA's mean over its first, middle and last frame, as published."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latentsync.judges.hyperiqa import PICTURE_SIZE

CLIP_SIZE = 256
"""Side of the clip whose centre is judged."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class QualityScorer:
    """Scores the centres of a clip's frames.

    Args:
        network: from `load_hyperiqa`, or anything else that maps pictures (b, 3, 224, 224) to scores (b,).
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def score(self, frames: NDArray[np.uint8]) -> float:
        """Mean quality, about 0 (bad) to 100 (good), of the first, middle and last of frames (n, h, w, 3), RGB.

        Frames whose shorter side is not 256 px are resized so (bilinear, antialiased); the centre 224 px are judged.

        Raises:
            ValueError: there is no frame.
        """
        if len(frames) == 0:
            raise ValueError("quality needs at least one frame")
        chosen = np.stack([frames[index] for index in judged_frames(len(frames))])
        pictures = quality_pictures(torch.from_numpy(chosen).to(self._device))
        return float(self._network(pictures).mean())


def judged_frames(num_frames: int) -> tuple[int, int, int]:
    """Which frames of a clip are judged: the first, the middle and the last."""
    return 0, num_frames // 2, num_frames - 1


def quality_pictures(frames: Tensor) -> Tensor:
    """Frames (n, h, w, 3) uint8 to the network's pictures (n, 3, 224, 224), with ImageNet's normalisation."""
    pictures = frames.permute(0, 3, 1, 2).float() / 255
    height, width = pictures.shape[-2:]
    shorter = min(height, width)
    if shorter != CLIP_SIZE:
        size = (round(height * CLIP_SIZE / shorter), round(width * CLIP_SIZE / shorter))
        pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
    top, left = ((side - PICTURE_SIZE) // 2 for side in pictures.shape[-2:])
    centre = pictures[..., top : top + PICTURE_SIZE, left : left + PICTURE_SIZE]
    mean, deviation = (centre.new_tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))
    return (centre - mean) / deviation
