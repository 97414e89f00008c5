"""The mean distance of two videos' face crops by a network that compares pictures: LPIPS and its stand-in."""

from collections.abc import Callable

import numpy as np
import torch

from eval.face_clips import FaceClips, common_frames
from eval.metrics.metric import Judge, Sample
from latentsync.judges.crop_measures import mouth_region, to_images

STRIDE_FRAMES = 5
"""One frame in so many is looked at: neighbours say the same, and the networks are slow on a CPU."""

_BATCH = 4

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Pictures and targets (n, 3, h, w) in [-1, 1] to distances (n,)."""


def perceptual_judge(distance: Distance, device: torch.device, face: str, mouth: str) -> Judge:
    """A judge that gives the mean distance from the reference of every fifth frame.

    Args:
        distance: the network.
        device: where it is.
        face, mouth: names of the figures of the whole crop and of the mouth region.
    """

    @torch.inference_mode()
    def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
        result = clips.crops(sample.result, sample.source)
        reference = clips.crops(sample.required_reference(), sample.source)
        frames = common_frames(result, reference)[::STRIDE_FRAMES]
        distances = []
        for start in range(0, len(frames), _BATCH):
            pair = [clip.crops[frames[start : start + _BATCH]] for clip in (result, reference)]
            for region in (pair, [mouth_region(crops) for crops in pair]):
                ours, theirs = (to_images(crops).to(device) for crops in region)
                distances.append(distance(ours, theirs).float().cpu().numpy())
        return {
            face: float(np.concatenate(distances[::2]).mean()),
            mouth: float(np.concatenate(distances[1::2]).mean()),
        }

    return judge
