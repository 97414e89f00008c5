"""What the mouth reader trains on, and one step of its training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from demo.synthetic.clip_set import Clip
from latentsync.data.augmentation import change_colour, random_colour
from latentsync.data.batching import ItemKey, item_generator
from latentsync.judges.mouth_reader import MouthReader
from latentsync.models.checkpoint import save_checkpoint
from latentsync.training.training_step import StepContext, StepResult

_COLOUR_STRENGTH = 0.7
_LARGEST_SHIFT = 4
_BLURRED_SHARE, _LARGEST_REDUCTION = 0.5, 2.5
_LARGEST_NOISE = 0.04


class MouthCrops(Dataset):
    """Random crops with colour, blur, noise, mirror and small shifts, and the true mouth; named by `ItemKey`."""

    def __init__(self, clips: Sequence[Clip], seed: int):
        self.clips = clips
        self.seed = seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """`crop` (3, R, R) float32 in [-1, 1]; `mouth` (2,) its opening and width; `clip` its folder."""
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        frame = int(generator.integers(len(clip.crops)))
        crop = np.array(clip.crops[frame])
        if generator.random() < 0.5:
            crop = crop[:, ::-1]
        crop = np.roll(crop, generator.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1, 2), axis=(0, 1))
        picture = change_colour(crop.astype(np.float32) / 255, *random_colour(generator, _COLOUR_STRENGTH))
        picture = soften(np.ascontiguousarray(picture.transpose(2, 0, 1)), generator)
        return {"crop": picture * 2 - 1, "mouth": clip.frames_track[frame], "clip": str(clip.folder)}


def soften(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Resizes a picture (3, h, w) in [0, 1] down and up by up to 2.5 (in half of the cases); adds noise up to 0.04."""
    if generator.random() < _BLURRED_SHARE:
        factor = 1 / generator.uniform(1, _LARGEST_REDUCTION)
        whole = torch.from_numpy(picture)[None]
        small = F.interpolate(whole, scale_factor=factor, mode="bilinear", antialias=True)
        picture = F.interpolate(small, size=whole.shape[-2:], mode="bilinear")[0].numpy()
    noise = generator.standard_normal(picture.shape, dtype=np.float32)
    return (picture + np.float32(generator.uniform(0, _LARGEST_NOISE)) * noise).clip(0, 1)


class MouthReaderStep:
    """Squared and absolute error of opening and width."""

    export_name = "mouth_reader.pt"

    def __init__(self, reader: MouthReader) -> None:
        self.reader = reader

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.reader

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch of `MouthCrops`."""
        mouth = batch["mouth"]
        read = model(batch["crop"]).float()
        error = read - mouth
        seen = read.detach()
        opening, width = F.cosine_similarity(seen - seen.mean(0), mouth - mouth.mean(0), dim=0)
        figures: dict[str, torch.Tensor | float] = {"opening_correlation": opening, "width_correlation": width}
        return StepResult(10 * (error.square().mean() + 0.1 * error.abs().mean()), figures)

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes what `latentsync.judges.mouth_reader.load_mouth_reader` reads, in half precision."""
        save_checkpoint(path, state_dict, global_step, dtype=torch.float16)
