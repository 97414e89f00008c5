"""Measure the data loader and the training step in samples per second, and how long the step waits for data.

Prints for each number of workers: the loader alone, the step alone (forward, backward, optimizer, repeated on one
batch), and both together as in training, with the share of time in which the step waits for its batch. Features are
computed in advance, so that the loader is measured with warm caches. CPU time is printed as well: unlike
wall-clock time it is not affected by other work on the machine, and without workers all of it is in one process.
`--step_seconds S` puts a wait of S seconds in the place of the step, to measure the loader beside a step of another
machine or size: the loader's work depends on the resolution and the losses, not on the size of the network.

Run: python -m benchmarks.loader_speed unet --config configs/demo/unet_stage1.yaml data.train_clips=FOLDER
     python -m benchmarks.loader_speed syncnet --config configs/demo/syncnet.yaml data.train_clips=FOLDER
     [--workers 0 1 2] [--num_batches 20] [--step_seconds S] [key=value ...]
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from latentsync.cli import OneLineParser, run_command
from latentsync.config import load_config
from latentsync.data.batching import StepSampler
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.train_syncnet import build_syncnet_trainer
from latentsync.recipes.train_unet import build_unet_trainer
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.session import TrainingSession
from latentsync.training.trainer import Trainer
from latentsync.training.training_data import batches
from latentsync.training.training_step import StepContext

Batch = dict[str, Any]


def build_trainer(model: str, config: Path, overrides: list[str]) -> Trainer:
    """Build the trainer of a shell script."""
    if model == "unet":
        unet_run = load_config(config, UNetRun, overrides)
        return build_unet_trainer(unet_run, asdict(unet_run))
    syncnet_run = load_config(config, SyncNetRun, overrides)
    return build_syncnet_trainer(syncnet_run, asdict(syncnet_run))


def loader(trainer: Trainer, session: TrainingSession, num_workers: int, num_batches: int) -> Iterator[Batch]:
    """Yield one batch more than is measured: the first one waits for the workers to start."""
    config = trainer.config
    sampler = StepSampler(len(trainer.dataset), config.batch_size, seed=config.seed, num_batches=num_batches + 1)
    return batches(trainer.dataset, trainer.collate, sampler, num_workers, session.device)


def train_on(trainer: Trainer, session: TrainingSession) -> Callable[[Batch], None]:
    """Return a function that trains on one batch, as the training loop does."""
    context = StepContext(0, trainer.config.max_steps)

    def train(batch: Batch) -> None:
        result = trainer.step(session.model, batch, context)
        session.accelerator.backward(result.loss)
        session.optimizer.step()
        session.optimizer.zero_grad()
        result.loss.item()  # waits for the GPU

    return train


def waiting_for(seconds: float) -> Callable[[Batch], None]:
    """Return a function that waits, as the process does while a GPU trains on a batch."""
    return lambda batch: time.sleep(seconds)


@dataclass(frozen=True)
class Timing:
    """Seconds per batch: wall-clock time, the part spent waiting for the batch, and this process's CPU time."""

    clock_s: float
    waiting_s: float
    processor_s: float


def measure(supply: Iterable[Batch], work: Callable[[Batch], None]) -> Timing:
    """Time all batches but the first."""
    batches_left = iter(supply)
    work(next(batches_left))
    start, processor, waited, count = time.perf_counter(), time.process_time(), 0.0, 0
    while True:
        asked = time.perf_counter()
        batch = next(batches_left, None)
        if batch is None:
            break
        waited += time.perf_counter() - asked
        work(batch)
        count += 1
    elapsed, processor = time.perf_counter() - start, time.process_time() - processor
    return Timing(elapsed / count, waited / count, processor / count)


def main() -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(description="measure the data loader and the training step in samples per second")
    parser.add_argument("model", choices=("unet", "syncnet"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num_batches", type=int, default=20)
    parser.add_argument("--step_seconds", type=float, help="wait this long in the place of a training step")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: print_speeds(options))


def print_speeds(options: argparse.Namespace) -> int:
    """Measure and print one line for each number of workers."""
    trainer = build_trainer(options.model, options.config, options.overrides)
    if trainer.config.num_threads is not None:
        torch.set_num_threads(trainer.config.num_threads)
    session, num_batches = TrainingSession(trainer.config, trainer.step.model), options.num_batches
    train, size = train_on(trainer, session), trainer.config.batch_size
    if options.step_seconds is not None:
        train = waiting_for(options.step_seconds)
    first, *_ = loader(trainer, session, 0, num_batches)  # computes features that are not cached yet
    step = measure([first] * (num_batches + 1), train)
    reading = measure(loader(trainer, session, 0, num_batches), lambda batch: None)
    print(f"batch of {size}, step alone: {size / step.clock_s:8.1f} samples/s")
    costs = [timing.processor_s / size * 1e3 for timing in (step, reading)]
    if options.step_seconds is not None:
        costs[0] = options.step_seconds / size * 1e3
    print(f"CPU ms per sample: step {costs[0]:.1f}, loader {costs[1]:.1f} ({costs[1] / costs[0]:.1%})", flush=True)
    for workers in options.workers:
        loading = measure(loader(trainer, session, workers, num_batches), lambda batch: None)
        both = measure(loader(trainer, session, workers, num_batches), train)
        print(
            f"workers {workers}: loader alone {size / loading.clock_s:8.1f} samples/s, "
            f"training {size / both.clock_s:8.1f} samples/s, "
            f"the step waits {both.waiting_s / both.clock_s:6.1%} of the time",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
