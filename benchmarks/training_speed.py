"""Measure the parts of a training step of the U-Net at the published size, beside their floor.

    python -m benchmarks.training_speed [stage1 stage2] [--precision bf16] [--clips FOLDER] [--size tiny]

One window of 16 frames, configurations as in configs/unet/, random weights, the frozen networks of the losses included.
The floor of a part is its number of operations over the rate of a large matrix product in its format, that of the
optimizer its bytes over the rate of a large copy. On a CPU all times are processor time. The loader is measured if
`--clips` names training clips, such as those of `python -m demo.synthetic dataset --resolution 256`.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_report.networks import random_codec, random_unet, random_whisper, unet_run
from benchmarks.gpu_report.section import SIZES, Setup
from benchmarks.gpu_report.training import random_batch, random_losses
from benchmarks.measurement import GIB, best_seconds, markdown_table, synchronize
from latentsync.cli import OneLineParser, run_command
from latentsync.data.batching import ItemKey, collate
from latentsync.data.clip_check import check_clips
from latentsync.data.clip_features import ClipFeatures, encoder_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.prepare_features import prepare_features
from latentsync.data.unet_dataset import UNetDataset
from latentsync.device import frozen_dtype, resolve_device, resolve_mixed_precision
from latentsync.losses.loss_stack import Prediction
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import ArrayCache
from latentsync.training.optimizers import select_trainable
from latentsync.training.session import TrainingSession
from latentsync.training.trainer_config import MIXED_PRECISIONS
from latentsync.training.unet_step import UNetStep

LOADER, OPTIMIZER = "loader", "clipping, optimizer"
_BYTES_PER_WEIGHT = 4 * (2 + 7)
"""AdamW in float32: clipping reads and writes the gradient; the update reads four tensors and writes three."""
_NUM_ITEMS = 8


class TotalFlops(FlopCounterMode):
    """Counts the operations of a part as a whole.

    The counter of PyTorch also attributes them to modules. The hooks that it needs for this keep the activations of
    every checkpointed part until the end: 8 GiB for the decoder.
    """

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker = cast(Any, _OneModule())


class _OneModule(nullcontext[None]):
    """Takes the place of the tracker: all operations belong to one module."""

    parents = frozenset({"Global"})


@dataclass
class Part:
    """Seconds of one part of the step, and its operations in the format of its networks."""

    seconds: float = 0.0
    flops: int = 0
    dtype: torch.dtype = torch.float32


@dataclass
class StepClock:
    """Time and operations by part.

    Attributes:
        device: device of the networks; CPU time on a CPU, else wall-clock time.
        counts: True to count operations, which takes time itself, False to measure time.
        parts: the result, in order of execution.
    """

    device: torch.device
    counts: bool = True
    parts: dict[str, Part] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str, dtype: torch.dtype) -> Iterator[None]:
        """Attribute what runs inside the context to a part."""
        part = self.parts.setdefault(name, Part(dtype=dtype))
        if self.counts:
            with TotalFlops() as counter:
                yield
            part.flops += counter.get_total_flops()
            return
        start = self.now()
        yield
        part.seconds += self.now() - start

    def timed(self, function: Callable[..., Any], name: str, dtype: torch.dtype) -> Callable[..., Any]:
        """Return the function with its calls attributed to a part."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name, dtype):
                return function(*args, **kwargs)

        return run

    def now(self) -> float:
        """Return the time in seconds."""
        synchronize(self.device)
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()


@dataclass
class MeasuredStep:
    """A training step cut into parts.

    Attributes:
        step: the step.
        session: the U-Net and its optimizer.
        trained, frozen: formats of the U-Net and of the frozen networks.
        clock: receives time and operations.
    """

    step: UNetStep
    session: TrainingSession
    trained: torch.dtype
    frozen: torch.dtype
    clock: StepClock

    def gradients(self, batch: dict[str, Any]) -> None:
        """Compute the gradients of a batch, as `UNetStep` and one backward pass do, part by part."""
        prediction = self._predict(batch)
        names = ("predicted_noise", "clean_estimate")
        leaves = {name: getattr(prediction, name).detach().requires_grad_() for name in names}
        decoded, judged = None, replace(prediction, **leaves)
        if self.step.losses.needs_pixels:
            with self.clock.part("VAE decode", self.frozen):
                decoded = judged.pixels
            judged.__dict__["pixels"] = decoded.detach().requires_grad_()
        for term in self.step.losses.terms:
            dtype = self.frozen if term.name in ("sync", "trepa") else torch.float32
            with self.clock.part(f"{term.name} loss, both passes", dtype):
                (term.weight * term(judged)).backward()
        if decoded is not None:
            with self.clock.part("VAE decode, backward", self.frozen):
                decoded.backward(judged.pixels.grad)
        roots = [getattr(prediction, name) for name in names if leaves[name].grad is not None]
        with self.clock.part("U-Net, backward", self.trained):
            torch.autograd.backward(roots, [leaf.grad for leaf in leaves.values() if leaf.grad is not None])

    def update(self, max_grad_norm: float | None) -> None:
        """Clip the gradients and update the weights."""
        with self.clock.part(OPTIMIZER, torch.float32):
            if max_grad_norm is not None:
                self.session.accelerator.clip_grad_norm_(self.session.model.parameters(), max_grad_norm)
            self.session.optimizer.step()
        self.session.optimizer.zero_grad()

    def _predict(self, batch: dict[str, Any]) -> Prediction:
        model, codec, timed = self.session.model, self.step.codec, self.clock.timed
        encode = timed(codec.encode, "VAE encode", self.frozen)
        forward = timed(model.forward, "U-Net", self.trained)
        with patch.object(codec, "encode", encode), patch.object(model, "forward", forward):
            return self.step.predict(model, batch)


def build_step(setup: Setup, run: UNetRun) -> MeasuredStep:
    """Build the step of a configuration with random weights."""
    precision = resolve_mixed_precision(run.training.mixed_precision, setup.device)
    trained, frozen = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision), frozen_dtype(precision)
    unet = random_unet(run.model, setup.device)
    select_trainable(unet, run.trainable)
    recompute = run.training.gradient_checkpointing
    losses = random_losses(setup, run.losses, run.data.resolution, frozen, recompute)
    codec = random_codec(setup, frozen)
    session = TrainingSession(run.training, unet)
    step = UNetStep(unet, codec, losses, run.diffusion, run.data.resolution, recompute)
    return MeasuredStep(step, session, trained or torch.float32, frozen, StepClock(setup.device))


def measure(setup: Setup, name: str, precision: str, clips: Path | None = None) -> list[dict[str, Any]]:
    """Return the rows of a configuration's table: one a part, and the sum."""
    tiny = None if setup.sizes.name == "published" else setup.sizes.resolutions[0]
    changes = (f"training.device={setup.device}", f"training.mixed_precision={precision}")
    run = unet_run(setup.sizes, name, tiny, changes)
    measured = build_step(setup, run)
    batch, clock = random_batch(setup, run), measured.clock
    for clock.counts in (True, False):  # the first pass also warms up
        measured.gradients(batch)
        measured.update(run.training.max_grad_norm)
    num_trained = sum(weight.numel() for weight in measured.step.model.parameters() if weight.requires_grad)
    rate = matrix_rates(setup, clock)
    floors = {part: values.flops / rate(values.dtype) for part, values in clock.parts.items()}
    floors[OPTIMIZER] = num_trained * _BYTES_PER_WEIGHT / copy_rate(setup, clock)
    parts = {part: values.seconds for part, values in clock.parts.items()}
    if clips is not None:
        needs = (measured.step.losses.needs_target_pixels, measured.step.losses.needs_mel)
        parts = {LOADER: loader_seconds(setup, run, clips, needs), **parts}
    return table_rows(parts, floors, clock.parts)


def table_rows(seconds: dict[str, float], floors: dict[str, float], parts: dict[str, Part]) -> list[dict[str, Any]]:
    """Return the cells of all parts and of their sum."""
    total = sum(seconds.values())
    rows = [
        {
            "part": name,
            "s": value,
            "of the step": f"{value / total:.1%}",
            "TFLOP": parts[name].flops / 1e12 if name in parts and parts[name].flops else None,
            "floor, s": floors.get(name),
        }
        for name, value in seconds.items()
    ]
    return [*rows, {"part": "all", "s": total, "of the step": "100.0%", "floor, s": sum(floors.values())}]


def matrix_rates(setup: Setup, clock: StepClock) -> Callable[[torch.dtype], float]:
    """Return a function from a format to the operations per second of a large matrix product in it."""
    side, known = min(setup.sizes.matmul_side, 4096), dict[torch.dtype, float]()

    def rate(dtype: torch.dtype) -> float:
        if dtype not in known:
            first, second = (torch.randn(side, side, device=setup.device).to(dtype) for _ in range(2))
            known[dtype] = 2 * side**3 / best_seconds(partial(torch.mm, first, second), clock=clock.now)
        return known[dtype]

    return rate


def copy_rate(setup: Setup, clock: StepClock) -> float:
    """Return the bytes per second, read and written, of a large copy."""
    source = torch.zeros(setup.sizes.matmul_side**2, device=setup.device)
    return 2 * source.nbytes / best_seconds(partial(torch.empty_like(source).copy_, source), clock=clock.now)


def loader_seconds(setup: Setup, run: UNetRun, clips: Path, needs: tuple[bool, bool]) -> float:
    """Return the CPU seconds in which the data loader reads one window; the audio features are cached.

    Args:
        setup: sizes.
        run: the configuration.
        clips: folder of training clips.
        needs: whether the losses need target frames and mel.
    """
    with tempfile.TemporaryDirectory() as folder:
        encoder = random_whisper(setup.sizes)
        features = ClipFeatures(ArrayCache(Path(folder)), run.data.resolution, encoder_fingerprint(encoder))
        usable = check_clips(list_clips(clips)[:1], run.data.min_frames, run.data.video_fps, cache=Path(folder)).usable
        prepare_features(usable, features, encoder)
        dataset = UNetDataset(usable, features, run.data, 0, *needs)

        def read() -> None:
            for epoch in range(_NUM_ITEMS):
                collate([dataset[ItemKey(0, epoch)]])

        return best_seconds(read) / _NUM_ITEMS


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.training_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("configs", nargs="*", default=["stage1"], help="names of configs/unet/*.yaml")
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--precision", choices=MIXED_PRECISIONS, default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=Path, help="training clips for the loader")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    options = parser.parse_args(arguments)
    return run_command(lambda: print_tables(options))


def print_tables(options: argparse.Namespace) -> int:
    """Measure and print one table per configuration."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    setup = Setup(SIZES[options.size], resolve_device(options.device))
    for name in options.configs:
        rows = measure(setup, name, options.precision, options.clips)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
        title = f"{name}, {options.size} size, {options.precision}, {setup.device.type}, peak memory {peak:.1f} GiB"
        table = markdown_table(("part", "s", "of the step", "TFLOP", "floor, s"), rows)
        sys.stdout.write(f"\n{title}\n\n{table}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
