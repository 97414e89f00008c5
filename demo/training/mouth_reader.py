"""The demo's mouth reader: a network that predicts mouth opening and width from an aligned crop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from demo.synthetic.clip_metrics import mouth_reading_metrics, track_correlations
from demo.synthetic.clip_set import Clip
from demo.training.demo_network import ClipItems, DemoNetwork, DemoRun
from latentsync.data.augmentation import change_colour, random_colour
from latentsync.data.batching import ItemKey, item_generator
from latentsync.judges.mouth_reader import MouthReader
from latentsync.models.checkpoint import save_checkpoint
from latentsync.training.training_step import StepContext, StepResult

_COLOUR_STRENGTH = 0.7
_MAX_SHIFT = 4
"""Pixels, in both directions."""
_BLURRED_SHARE, _MAX_REDUCTION = 0.5, 2.5
_MAX_NOISE = 0.04


class MouthCrops(ClipItems):
    """Random crops of a clip, augmented (colour, blur, noise, mirror, small shifts), with the true mouth."""

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """Return one item.

        Returns:
            `crop` (3, R, R) float32 in [-1, 1]; `mouth` (2,) its opening and width; `clip` its folder.
        """
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        frame = int(generator.integers(len(clip.crops)))
        crop = np.array(clip.crops[frame])
        if generator.random() < 0.5:
            crop = crop[:, ::-1]
        crop = np.roll(crop, generator.integers(-_MAX_SHIFT, _MAX_SHIFT + 1, 2), axis=(0, 1))
        image = change_colour(crop.astype(np.float32) / 255, *random_colour(generator, _COLOUR_STRENGTH))
        image = degrade(np.ascontiguousarray(image.transpose(2, 0, 1)), generator)
        return {"crop": image * 2 - 1, "mouth": clip.frames_track[frame], "clip": str(clip.folder)}


def degrade(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blur an image (3, h, w) in [0, 1] with probability 0.5, by resizing it down by up to 2.5 and up; add noise."""
    if generator.random() < _BLURRED_SHARE:
        factor = 1 / generator.uniform(1, _MAX_REDUCTION)
        whole = torch.from_numpy(image)[None]
        small = F.interpolate(whole, scale_factor=factor, mode="bilinear", antialias=True)
        image = F.interpolate(small, size=whole.shape[-2:], mode="bilinear")[0].numpy()
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return (image + np.float32(generator.uniform(0, _MAX_NOISE)) * noise).clip(0, 1)


class MouthReaderStep:
    """Training step: squared and absolute error of opening and width.

    Args:
        reader: the network to train.
    """

    export_name = "mouth_reader.pt"

    def __init__(self, reader: MouthReader) -> None:
        self.reader = reader

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.reader

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `MouthCrops`."""
        predicted = model(batch["crop"]).float()
        error = predicted - batch["mouth"]
        loss = 10 * (error.square().mean() + 0.1 * error.abs().mean())
        return StepResult(loss, {**track_correlations(predicted.detach(), batch["mouth"])})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write the weights in half precision, for `latentsync.judges.mouth_reader.load_mouth_reader`."""
        save_checkpoint(path, state_dict, global_step, dtype=torch.float16)


class MouthReaderValidator:
    """Correlations of predicted and true mouths on held-out clips."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the metrics of a `MouthReader`."""
        return mouth_reading_metrics(model, self.clips)


MOUTH_READER: DemoNetwork[DemoRun, MouthReader] = DemoNetwork(
    description="Train the network that reads mouth opening and width from a crop.",
    schema=DemoRun,
    build_model=lambda run, initial: MouthReader(),
    build_dataset=MouthCrops,
    build_step=lambda run, reader, dataset: MouthReaderStep(reader),
    build_validator=MouthReaderValidator,
)
