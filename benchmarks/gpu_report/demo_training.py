"""Short trainings of the demo U-Net with the trainer, on people rendered in memory."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.device_measurement import peak_memory_gib
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.gpu_report.talking_clips import TalkingClips
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.data.batching import collate
from latentsync.device import frozen_dtype, resolve_mixed_precision
from latentsync.losses.build import build_losses
from latentsync.models.vae import load_vae
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
    """Return stage 1 from random weights, whose loss must decrease, and stage 2 from the demo weights."""
    yield Case("stage 1, from random weights", partial(train, setup, _STAGE1, must_fall=True))
    yield Case("stage 2, all losses, from the bundled weights", partial(train, setup, "unet_stage2", must_fall=False))


def train(setup: Setup, name: str, must_fall: bool) -> Values:
    """Train some steps with `configs/demo/<name>.yaml`.

    Raises:
        ValueError: the mean loss of the last third is not below that of the first third although this is required.
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
    """Return the demo's configuration for a short training without validation."""
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
    """Return the loss of every step."""
    dtype = frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, setup.device))
    codec = load_vae(find_vae(run.vae), setup.device, dtype)
    encoder = load_whisper_encoder(locate(run.audio.whisper), setup.device)
    losses = build_losses(run.losses, codec, setup.device, dtype, run.data.resolution, run.data.num_frames)
    step = UNetStep(initial_unet(run), codec, losses, run.diffusion, run.data.resolution)
    clips = TalkingClips(setup.sizes.demo_clips, run.data, codec, encoder, losses.needs_pixels)
    Trainer(run.training, step, clips, collate).fit()
    rows = read_rows(Path(run.training.run_dir) / FILE_NAME)
    return [row["loss"] for row in rows if row["split"] == "train"]


SECTION = Section(
    name="demo_training",
    title="A short demo training",
    note=(
        "configs/demo/ by the trainer itself, on a few people rendered in memory. The loss of stage 1 must fall from "
        "the first third of the steps to the last; that of stage 2, which continues from trained weights, must be "
        "finite."
    ),
    share=1.5,
    cases=cases,
)
