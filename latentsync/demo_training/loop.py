"""The training loop every demo model shares: clock or step limit, learning-rate curve, JSONL log, regular saving."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from latentsync.demo_training.optimizer import WeightAverage, lr_factor

logger = logging.getLogger(__name__)

_GRADIENT_CLIP = 1.0
_LOG_SECONDS = 15.0
_SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class TrainOptions:
    """What the command line says: where the clips are, where results go, and how long to train.

    With `steps` the training repeats exactly; with `minutes` it fits the clock of the machine.
    """

    data: Path
    out: Path
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    initial: Path | None = None


Step = Callable[[float], tuple[torch.Tensor, dict[str, float]]]


def train(
    options: TrainOptions,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    step: Step,
    save: Callable[[int], None],
    average: WeightAverage | None = None,
    name: str = "train",
) -> list[dict[str, float]]:
    """Runs `step(fraction done) -> (loss, figures)` until the limit; saves every minute and at the end.

    Returns:
        The logged rows, as in `<out>/<name>.jsonl`: step, seconds, rate and the mean of each figure since the last.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    num_summed = index = 0
    start = last_log = last_save = time.monotonic()
    parameters = [param for param in model.parameters() if param.requires_grad]
    with open(options.out / f"{name}.jsonl", "w", encoding="utf-8") as log:
        while (fraction := _fraction(options, index, time.monotonic() - start)) < 1:
            figures = _optimize(step, fraction, optimizers, parameters)
            if average is not None:
                average.update(model)
            index += 1
            num_summed += 1
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + value
            now = time.monotonic()
            if now - last_log > _LOG_SECONDS or _fraction(options, index, now - start) >= 1:
                row = {
                    "step": index,
                    "seconds": round(now - start, 1),
                    "steps_per_second": num_summed / (now - last_log),
                }
                row |= {key: value / num_summed for key, value in sums.items()}
                rows.append(row)
                log.write(json.dumps(row) + "\n")
                log.flush()
                logger.info("%s", " ".join(f"{key} {value:.5g}" for key, value in row.items()))
                sums, num_summed, last_log = {}, 0, now
            if now - last_save > _SAVE_SECONDS:
                save(index)
                last_save = time.monotonic()
    save(index)
    return rows


def place_channels_last(model: nn.Module, device: torch.device) -> None:
    """Moves a model to the device, its convolution weights channels last: the faster order on a CPU in bfloat16."""
    nn.Module.to(model, device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _fraction(options: TrainOptions, index: int, seconds: float) -> float:
    """Share of the training that is done, by steps when they are given, else by the clock."""
    if options.steps is not None:
        return index / options.steps
    return seconds / (60 * (options.minutes or 1.0))


def _optimize(
    step: Step, fraction: float, optimizers: list[torch.optim.Optimizer], parameters: list[nn.Parameter]
) -> dict[str, float]:
    """One step of all optimizers at this point of the learning-rate curve."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * lr_factor(fraction)
    loss, figures = step(fraction)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, _GRADIENT_CLIP)
    if torch.isfinite(norm):
        for optimizer in optimizers:
            optimizer.step()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    return figures | {"loss": loss.item(), "gradient_norm": norm.item()}
