"""Section: a training step of the published configurations: time, memory, losses."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu_report.networks import (
    MEL_BANDS,
    NUM_FRAMES,
    audio_tokens,
    random_codec,
    random_lpips,
    random_syncnet,
    random_unet,
    random_videomae,
    unet_run,
)
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.measurement import median_seconds, peak_memory_gib
from latentsync.device import frozen_dtype, resolve_mixed_precision
from latentsync.losses.epsilon_loss import EpsilonLoss
from latentsync.losses.feature_losses import PerceptualLoss, TrepaLoss
from latentsync.losses.loss_config import LossesConfig
from latentsync.losses.loss_stack import LossStack, LossTerm
from latentsync.losses.sync_loss import SyncLoss
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.optimizers import select_trainable
from latentsync.training.session import TrainingSession
from latentsync.training.training_step import StepContext
from latentsync.training.unet_step import UNetStep


def cases(setup: Setup) -> Iterator[Case]:
    """Yield one case per configuration."""
    for name in setup.sizes.training_configs:
        yield Case(name, partial(measure, setup, name))


def measure(setup: Setup, name: str) -> Values:
    """Measure some steps of a configuration on one batch of random frames and audio.

    Raises:
        ValueError: the loss or the gradient is not finite.
    """
    tiny = None if setup.sizes.name == "published" else setup.sizes.resolutions[0]
    run = unet_run(setup.sizes, name, tiny, (f"training.device={setup.device}",))
    unet = random_unet(run.model, setup.device)
    num_trainable = select_trainable(unet, run.trainable)
    precision = resolve_mixed_precision(run.training.mixed_precision, setup.device)
    dtype = frozen_dtype(precision)
    recompute = run.training.gradient_checkpointing
    losses = random_losses(setup, run.losses, run.data.resolution, dtype, recompute)
    codec = random_codec(setup, dtype)
    session = TrainingSession(run.training, unet)
    step = UNetStep(unet, codec, losses, run.diffusion, run.data.resolution, recompute)
    batch = random_batch(setup, run)
    last: dict[str, float] = {}

    def optimize() -> None:
        result = step(session.model, batch, StepContext(0, run.training.max_steps))
        session.accelerator.backward(result.loss)
        norm = session.accelerator.clip_grad_norm_(session.model.parameters(), run.training.max_grad_norm)
        session.optimizer.step()
        session.optimizer.zero_grad()
        last.update({term: float(value) for term, value in result.metrics.items()})
        last["loss"] = float(result.loss.detach())
        last["gradient norm"] = float(torch.as_tensor(norm))

    seconds = median_seconds(optimize, setup.device, setup.sizes.num_timed)
    for quantity, value in last.items():
        if not torch.tensor(value).isfinite():
            raise ValueError(f"{quantity} is {value} after {seconds:.2f} s a step")
    return {
        "s a step": seconds,
        "peak memory, GiB": peak_memory_gib(setup.device),
        "weights that train, M": num_trainable / 1e6,
        "precision": precision,
        "frozen networks": str(dtype).removeprefix("torch."),
        **last,
    }


def random_losses(
    setup: Setup, config: LossesConfig, resolution: int, dtype: torch.dtype, recompute: bool
) -> LossStack:
    """Build the losses as `latentsync.losses.build.build_losses`, with random weights in the frozen networks."""
    device = setup.device
    terms: list[LossTerm] = [EpsilonLoss(config.epsilon.weight, resolution)]
    if config.sync.weight > 0:
        syncnet, syncnet_input = random_syncnet(setup.sizes, device)
        terms.append(SyncLoss(config.sync.weight, syncnet.to(dtype), syncnet_input))
    if config.perceptual.weight > 0:
        terms.append(PerceptualLoss(config.perceptual.weight, random_lpips(device)))
    if config.trepa.weight > 0:
        features = random_videomae(setup.sizes, device).to(dtype)
        features.recompute = recompute
        terms.append(TrepaLoss(config.trepa.weight, features))
    return LossStack(terms)


def random_batch(setup: Setup, run: UNetRun) -> dict[str, Any]:
    """Return a batch with one random window in the format of `latentsync.data.unet_dataset.UNetDataset`."""
    side, generator = run.data.resolution, torch.Generator().manual_seed(0)
    frames = torch.rand(2, 1, NUM_FRAMES, 3, side, side, generator=generator) * 2 - 1
    mel = torch.rand(1, 1, MEL_BANDS, run.data.num_mel_columns, generator=generator) * 8 - 4
    batch = {"pixels": frames[0], "reference": frames[1], "audio": audio_tokens(setup.sizes, 1), "mel": mel}
    return {"clip": ["random"], "seed": torch.tensor([1])} | {
        name: tensor.to(setup.device) for name, tensor in batch.items()
    }


SECTION = Section(
    name="training",
    title="Training steps",
    note=(
        "One process, one window of 16 frames a step, configurations as in configs/unet/, random weights, the frozen "
        "networks of the losses included. Forward, backward, clipping and the optimizer are in the time, loading data "
        "is not. Memory is what tensors took: weights, gradients, optimizer, frozen networks and activations."
    ),
    share=3.0,
    cases=cases,
)
