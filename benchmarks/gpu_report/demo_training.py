"""Section: a short training of the demo U-Net with the trainer, on people rendered in memory."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.measurement import peak_memory_gib
from demo.synthetic.clip import TalkingClip
from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.audio.sample_source import SAMPLE_RATE, ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures, frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.config import load_config
from latentsync.data.batching import ItemKey, collate, item_generator, item_seed
from latentsync.data.unet_dataset import UNetDataConfig, draw_windows
from latentsync.data.video_window import model_pixels
from latentsync.device import frozen_dtype, resolve_mixed_precision
from latentsync.face.mask import keep_mask
from latentsync.losses.build import build_losses
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.recipes.train_unet import initial_unet
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.temporary_files import temporary_folder
from latentsync.training.metrics import FILE_NAME, read_rows
from latentsync.training.trainer import Trainer
from latentsync.training.unet_step import UNetStep
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate

_STAGE1 = "unet_stage1"
_DEMO_UNET = "checkpoints/demo/latentsync_unet.pt"


def cases(setup: Setup) -> Iterator[Case]:
    """Yield stage 1 from random weights, whose loss must fall, and stage 2 with all losses from the bundled weights."""
    yield Case("stage 1, from random weights", partial(train, setup, _STAGE1, must_fall=True))
    yield Case("stage 2, all losses, from the bundled weights", partial(train, setup, "unet_stage2", must_fall=False))


def train(setup: Setup, name: str, must_fall: bool) -> Values:
    """Train some steps with `configs/demo/<name>.yaml`.

    Raises:
        ValueError: `must_fall` and the mean loss of the last third is not below that of the first third.
        NonFiniteLossError: a loss is not finite.
    """
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        run = demo_run(setup, name, folder)
        rows = run_trainer(setup, run)
    third = max(len(rows) // 3, 1)
    first, last = (sum(part) / len(part) for part in (rows[:third], rows[-third:]))
    if must_fall and not last < first:
        raise ValueError(f"the loss did not fall: {first:.4f} in the first third of the steps, {last:.4f} in the last")
    if not math.isfinite(last):
        raise ValueError(f"the loss is {last}")
    return {
        "steps": len(rows),
        "loss, first third": first,
        "loss, last third": last,
        "precision": resolve_mixed_precision(run.training.mixed_precision, setup.device),
        "peak memory, GiB": peak_memory_gib(setup.device),
    }


def demo_run(setup: Setup, name: str, folder: Path) -> UNetRun:
    """Return the demo's configuration with few steps and without validation."""
    changes = {
        "training.run_dir": folder / "run",
        "training.device": setup.device,
        "training.max_steps": setup.sizes.demo_steps if name == _STAGE1 else setup.sizes.demo_steps // 3,
        "training.batch_size": setup.sizes.demo_batch,
        "training.num_workers": 0,
        "training.num_threads": "null",
        "training.log_every": 1,
        "training.validate_every": 0,
        "training.save_every": 0,
        "training.schedule.warmup_steps": 0,
        "data.num_frames": 8 if name == _STAGE1 else 16,
    }
    if name != _STAGE1:
        changes["initial"] = _DEMO_UNET
    path = REPOSITORY_ROOT / "configs" / "demo" / f"{name}.yaml"
    return load_config(path, UNetRun, [f"{key}={value}" for key, value in changes.items()])


def run_trainer(setup: Setup, run: UNetRun) -> list[float]:
    """Train and return the loss of every step."""
    dtype = frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, setup.device))
    codec = load_vae(find_vae(run.vae), setup.device, dtype)
    encoder = load_whisper_encoder(locate(run.audio.whisper), setup.device)
    losses = build_losses(run.losses, codec, setup.device, dtype, run.data.resolution, run.data.num_frames)
    step = UNetStep(initial_unet(run), codec, losses, run.diffusion, run.data.resolution)
    clips = TalkingClips(setup.sizes.demo_clips, run.data, codec, encoder, losses.needs_pixels)
    Trainer(run.training, step, clips, collate).fit()
    rows = read_rows(Path(run.training.run_dir) / FILE_NAME)
    return [row["loss"] for row in rows if row["split"] == "train"]


class TalkingClips:
    """Training items of rendered people, in memory: without ffmpeg and without a speech synthesizer.

    Items are those of `latentsync.data.unet_dataset.UNetDataset` with cached latents.

    Args:
        num_clips: number of people, each with different speech.
        config: resolution and window length.
        codec: encodes the latents.
        encoder: computes the audio features.
        with_pixels: True if items also contain "pixels" and "mel", for losses that require them.
        seed: seed of the windows and of the training's random draws.
    """

    def __init__(
        self,
        num_clips: int,
        config: UNetDataConfig,
        codec: LatentCodec,
        encoder: WhisperEncoder,
        with_pixels: bool,
        seed: int = 0,
    ) -> None:
        self.config, self.with_pixels, self.seed = config, with_pixels, seed
        self.clips = [self._rendered(index, codec, encoder) for index in range(num_clips)]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip, length = self.clips[key.index], self.config.num_frames
        start, reference = draw_windows(item_generator(self.seed, key), len(clip["latents"]), length)
        item = {
            "audio": clip["audio"][start : start + length],
            "latents": clip["latents"][start : start + length],
            "masked_latents": clip["masked_latents"][start : start + length],
            "reference_latents": clip["latents"][reference : reference + length],
            "clip": f"rendered person {key.index}",
            "seed": item_seed(self.seed, key),
        }
        if self.with_pixels:
            item["pixels"] = clip["pixels"][start : start + length]
            mel = mel_window(clip["mel"], start, self.config.video_fps, self.config.num_mel_columns, repeat_last=True)
            item["mel"] = mel[None]
        return item

    @torch.inference_mode()
    def _rendered(self, index: int, codec: LatentCodec, encoder: WhisperEncoder) -> dict[str, np.ndarray]:
        seconds = (2 * self.config.num_frames + 2) / self.config.video_fps
        clip = TalkingClip(self.seed, index, seconds, speech=babble(seconds, seed=index))
        pixels = model_pixels(np.stack(list(clip.crops(self.config.resolution))))
        images = torch.from_numpy(pixels)
        features = WhisperFeatures(encoder, ArraySamples(clip.samples))
        arrays = {
            "audio": frame_tokens(features, range(len(pixels)), self.config.video_fps),
            "latents": codec.encode(images),
            "masked_latents": codec.encode(images * keep_mask(self.config.resolution)),
        }
        converted = {name: tensor.float().cpu().numpy() for name, tensor in arrays.items()}
        return converted | {"pixels": pixels, "mel": syncnet_mel(clip.samples).numpy()}


def babble(seconds: float, seed: int) -> np.ndarray:
    """Return vowel-like audio (n,) float32 at 16 kHz: syllables of a harmonic tone with varying formants."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = rng.uniform(100, 220)
    wander = np.interp(time, np.linspace(0, seconds, 8), rng.uniform(0, 1, 8))
    sound = np.zeros_like(time)
    for harmonic in range(1, 24):
        frequency = harmonic * pitch
        loudness = sum(
            np.exp(-(((frequency - formant) / width) ** 2))
            for formant, width in ((300 + 600 * wander, 150), (900 + 1500 * wander, 300))
        )
        sound += loudness * np.sin(2 * np.pi * frequency * time)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6)), 0, 1)
    return (0.3 * sound * syllables / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32)


SECTION = Section(
    name="demo_training",
    title="A short demo training",
    note=(
        "configs/demo/ with the trainer, on a few people rendered in memory. The loss of stage 1 must fall from "
        "the first third of the steps to the last; that of stage 2, which continues from trained weights, must be "
        "finite."
    ),
    share=1.5,
    cases=cases,
)
