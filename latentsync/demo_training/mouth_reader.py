"""Reads mouth opening and width off an aligned crop: a judge for tests and reports, independent of the SyncNet."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from latentsync.demo_training.clip_set import Clip, find_clips
from latentsync.demo_training.image_augmentation import blur_and_noise, jitter_colour
from latentsync.demo_training.loop import TrainOptions, train
from latentsync.demo_training.optimizer import WeightAverage, build_optimizers
from latentsync.models.checkpoint import read_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

_INPUT_SIZE = 64
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.42, 1.0, 0.21, 0.79
_CHANNELS = (16, 24, 32, 48)


class MouthReader(nn.Module):
    """Small convolutional network from crops (n, 3, R, R) in [-1, 1] to (n, 2): opening and width."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _CHANNELS:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * 16, 48), nn.SiLU(), nn.Linear(48, 2))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Only the lower middle of the crop is looked at, at 64 px."""
        size = crops.shape[-1]
        part = crops[..., int(_TOP * size) : int(_BOTTOM * size), int(_LEFT * size) : int(_RIGHT * size)]
        part = F.interpolate(part.float(), (_INPUT_SIZE, _INPUT_SIZE), mode="bilinear", antialias=True)
        return self.head(self.features(part))


def load_mouth_reader(path: Path, device: torch.device | str = "cpu") -> MouthReader:
    """Reads `mouth_reader.pt`; CheckpointError in one line when it cannot be read."""
    reader = MouthReader()
    reader.load_state_dict({name: value.float() for name, value in read_checkpoint(path)["state_dict"].items()})
    return reader.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def read_mouth(reader: MouthReader, crops: np.ndarray, batch_size: int = 50) -> np.ndarray:
    """Opening and width (f, 2) float32 of aligned crops (f, R, R, 3) uint8."""
    parts = []
    for start in range(0, len(crops), batch_size):
        pixels = torch.from_numpy(np.array(crops[start : start + batch_size])).permute(0, 3, 1, 2)
        parts.append(reader(pixels.float() / 127.5 - 1).numpy())
    return np.concatenate(parts)


class CropBatches:
    """Random crops with colour, blur, noise, mirror and small shifts, and the true mouth."""

    def __init__(self, clips: list[Clip], seed: int):
        self.clips = clips
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def next(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops (n, 3, R, R) in [-1, 1] and (n, 2) opening and width."""
        crops, targets = [], []
        for _ in range(batch_size):
            clip = self.clips[self.rng.integers(len(self.clips))]
            frame = int(self.rng.integers(len(clip.crops)))
            crop = np.array(clip.crops[frame])
            if self.rng.random() < 0.5:
                crop = crop[:, ::-1]
            crops.append(np.roll(crop, self.rng.integers(-4, 5, 2), axis=(0, 1)))
            targets.append(clip.frames_track[frame])
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        images = blur_and_noise(jitter_colour(images, self.generator, 0.7), self.generator)
        return images * 2 - 1, torch.from_numpy(np.stack(targets))


def train_mouth_reader(options: TrainOptions) -> None:
    """Trains on the clips below `options.data` and writes `<out>/mouth_reader.pt` (fp16)."""
    torch.manual_seed(options.seed)
    model = MouthReader().to(options.device)
    average = WeightAverage(model, 0.99)
    batches = CropBatches(find_clips(options.data), options.seed)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        crops, mouth = (tensor.to(options.device) for tensor in batches.next(48))
        with torch.autocast(options.device.type, torch.bfloat16):
            read = model(crops)
        error = read.float() - mouth
        pairs = [torch.corrcoef(torch.stack([read[:, i].detach().float(), mouth[:, i]]))[0, 1] for i in range(2)]
        figures = {"opening_correlation": float(pairs[0]), "width_correlation": float(pairs[1])}
        return 10 * (error.square().mean() + 0.1 * error.abs().mean()), figures

    def save(index: int) -> None:
        save_checkpoint(options.out / "mouth_reader.pt", average.state, index, dtype=torch.float16)

    optimizers = build_optimizers(model, lr=2e-3, matrix_lr=1e-2, plain_names=("head.3",))
    train(options, model, optimizers, step, save, average, name="mouth_reader")
