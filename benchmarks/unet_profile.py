"""Measure one guided step of the U-Net on the CPU: its processor time, and each operator's time beside its floor.

    python -m benchmarks.unet_profile [--resolution 256 512] [--dtype bfloat16 float32] [--layers plain fused compiled]

The U-Net has random weights of the published size (stage 2) and predicts 2 x 16 frames; the first half has no audio.
The floor of products is their work over the rate of a large matrix product measured in the same dtype; the floor of
other operators is the size of inputs and result over the bandwidth of a large copy. Plain layers are those of --exact,
compiled ones those of --compile. Processor time is that of the shorter of two steps, taken in turns after a first one;
the profiles follow it.
"""

import argparse
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import best_seconds, markdown_table
from benchmarks.random_weights import convert, random_network
from benchmarks.weight_sizes import PUBLISHED, TINY
from latentsync.cli import OneLineParser, run_command
from latentsync.device import DTYPES
from latentsync.models.compilation import compile_blocks
from latentsync.models.cpu_inference import plain_layers
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig

NUM_FRAMES = 16
NUM_TOKENS = 50
PLAIN, FUSED, COMPILED = LAYERS = ("plain", "fused", "compiled")
SIZES = {"published": PUBLISHED, "tiny": TINY}
CONVOLUTION, LINEAR, ATTENTION, OTHER = "convolution", "linear", "attention", "other"
KINDS = {
    CONVOLUTION: r"convolution",
    LINEAR: r"linear|addmm|\bmm$|\bbmm$|baddbmm",
    ATTENTION: r"scaled_dot_product|flash_attention",
    "group norm": r"group_norm",
    "layer norm": r"layer_norm",
    "activation": r"gelu|silu",
    "sum, product": r"::add_?$|::mul_?$",
    "copy, layout": r"copy_|clone|contiguous|::cat$|upsample|::fill_|pad",
}
"""Kinds of operators and patterns of their names, the first that fits. Fused linear layers contain activations."""
COLUMNS = ("operator", "seconds", "share, %", "calls", "floor, s")
STEP_COLUMNS = ("layers", "first step, s", "step, s", "gain")


@dataclass
class Usage:
    """Time of one kind of operator in a step.

    Attributes:
        seconds: time of the calls, without operators that they call.
        num_calls: number of calls.
        floor: seconds at the measured rates; None if unknown.
    """

    seconds: float = 0.0
    num_calls: int = 0
    floor: float | None = 0.0


@dataclass(frozen=True)
class Rates:
    """Measured limits of this machine: operations a second of a matrix product, bytes a second of a copy."""

    operations: float
    bytes: float


def measure_rates(dtype: torch.dtype, size: int) -> Rates:
    """Measure a product of (size, size) matrices and a copy of 16 times their memory."""
    matrix, block = torch.randn(size, size).to(dtype), torch.zeros(16 * size * size, dtype=dtype)
    target = torch.empty_like(block)
    product = best_seconds(lambda: matrix @ matrix, 3, time.perf_counter)
    copy = best_seconds(lambda: target.copy_(block), 3, time.perf_counter)
    return Rates(2 * size**3 / product, 2 * block.nbytes / copy)


def count_operations(config: UNetConfig, size: int) -> dict[str, float]:
    """Return the floating-point operations of the three kinds of products in one guided step."""
    with torch.device("meta"):
        unet = UNet3DConditionModel.from_unet_config(config)
        inputs = torch.empty(2, config.in_channels, NUM_FRAMES, size, size), torch.tensor(500)
        audio = torch.empty(2, NUM_FRAMES, NUM_TOKENS, config.cross_attention_dim)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        prepared = unet.prepare_audio(audio)
        before = dict(counter.get_flop_counts()["Global"])
        unet(*inputs, prepared)
    totals: dict[str, float] = defaultdict(float)
    for operator, count in counter.get_flop_counts()["Global"].items():
        name = str(operator)
        kind = ATTENTION if "bmm" in name or "dot_product" in name else kind_of(name)
        totals[kind] += count - before.get(operator, 0)
    return totals


def kind_of(operator: str) -> str:
    """Return the kind of an operator such as "aten::add"."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, operator)), OTHER)


def guided_step(unet: UNet3DConditionModel, size: int, dtype: torch.dtype, layers: str) -> Callable[[], None]:
    """Return a function that computes one guided step with one kind of layers."""
    config = unet.unet_config
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, config.in_channels, NUM_FRAMES, size, size, generator=generator).to(dtype)
    tokens = torch.randn(2, NUM_FRAMES, NUM_TOKENS, config.cross_attention_dim, generator=generator).to(dtype)
    tokens[0] = 0
    with torch.no_grad(), plain_layers() if layers == PLAIN else nullcontext():
        audio = unet.prepare_audio(tokens)

    def step() -> None:
        with torch.no_grad(), plain_layers() if layers == PLAIN else nullcontext(), stance(unet, layers):
            unet(sample, 500, audio)

    return step


def stance(unet: UNet3DConditionModel, layers: str) -> AbstractContextManager[Any]:
    """Return a context in which compiled blocks are used only if they are asked for."""
    is_compiled = any(module._compiled_call_impl is not None for module in unet.modules())
    return torch.compiler.set_stance("force_eager") if is_compiled and layers != COMPILED else nullcontext()


def processor_seconds(step: Callable[[], None]) -> float:
    """Return the processor time of a step, of its compilers too."""
    before = os.times()
    step()
    return sum(os.times()[:4]) - sum(before[:4])


def step_table(steps: dict[str, Callable[[], None]], repeats: int = 2) -> str:
    """Return a Markdown table of the processor time of steps by layers, in turns, and the gain on the first."""
    first = {layers: processor_seconds(step) for layers, step in steps.items()}
    turns = [{layers: processor_seconds(step) for layers, step in steps.items()} for _ in range(repeats)]
    best = {layers: min(turn[layers] for turn in turns) for layers in steps}
    base = next(iter(best.values()))
    rows = [(layers, first[layers], best[layers], base / max(best[layers], 1e-9)) for layers in steps]
    return markdown_table(STEP_COLUMNS, [dict(zip(STEP_COLUMNS, row, strict=True)) for row in rows])


def profile_step(step: Callable[[], None]) -> list[Any]:
    """Return the profiler's averages of one step by operator and shapes."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step()
    return list(profiler.key_averages(group_by_input_shape=True))


def summarize(events: list[Any], operations: dict[str, float], rates: Rates, dtype: torch.dtype) -> dict[str, Usage]:
    """Return time, calls and floor of each kind of operator, the slowest first."""
    usage = {kind: Usage() for kind in (*KINDS, OTHER)}
    moved: dict[str, float] = defaultdict(float)
    for event in events:
        kind = kind_of(event.key)
        usage[kind].seconds += event.self_cpu_time_total / 1e6
        if event.self_cpu_time_total < 0.2 * event.cpu_time_total:
            continue  # the work is that of the operators it calls
        usage[kind].num_calls += event.count
        counts = [torch.Size(shape).numel() for shape in event.input_shapes if shape]
        moved[kind] += event.count * (sum(counts) + max(counts, default=0)) * dtype.itemsize
    for kind, row in usage.items():
        is_product = kind in (CONVOLUTION, LINEAR, ATTENTION)
        row.floor = operations.get(kind, 0.0) / rates.operations if is_product else moved[kind] / rates.bytes
    usage[OTHER].floor = None  # views, mostly
    return dict(sorted(usage.items(), key=lambda item: -item[1].seconds))


def table(usage: dict[str, Usage]) -> str:
    """Return a Markdown table with a row for each kind of operator and the total."""
    total = Usage(
        sum(row.seconds for row in usage.values()),
        sum(row.num_calls for row in usage.values()),
        sum(row.floor or 0.0 for row in usage.values()),
    )
    rows = []
    for name, row in {**usage, "whole step": total}.items():
        share = 100 * row.seconds / max(total.seconds, 1e-9)
        rows.append(dict(zip(COLUMNS, (name, row.seconds, share, row.num_calls, row.floor), strict=True)))
    return markdown_table(COLUMNS, rows)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--resolution", type=int, nargs="+", default=[256], choices=[64, 128, 256, 512])
    add("--dtype", nargs="+", default=["bfloat16"], choices=list(DTYPES))
    add("--layers", nargs="+", default=[FUSED], choices=LAYERS)
    add("--size", choices=list(SIZES), default="published", help="tiny is for tests")
    add("--threads", type=int, default=torch.get_num_threads())
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    config = UNetConfig(use_motion_module=True, **SIZES[options.size].unet)
    unet = random_network(lambda: UNet3DConditionModel.from_unet_config(config))
    if COMPILED in options.layers:
        _compile(unet)
    for dtype_name in options.dtype:
        dtype = DTYPES[dtype_name]
        convert(unet, dtype)
        rates = measure_rates(dtype, 4096 if options.size == "published" else 256)
        limits = f"{rates.operations / 1e9:.0f} GFLOP/s, {rates.bytes / 1e9:.1f} GB/s, {options.threads} threads"
        for resolution in options.resolution:
            operations = count_operations(config, resolution // 8)
            steps = {layers: guided_step(unet, resolution // 8, dtype, layers) for layers in options.layers}
            title = f"{resolution} px, {dtype_name}"
            print(f"{title}, processor time:\n\n{step_table(steps)}\n", flush=True)
            for layers, step in steps.items():
                usage = summarize(profile_step(step), operations, rates, dtype)
                print(f"{title}, {layers} layers; {limits}:\n\n{table(usage)}\n", flush=True)
    return 0


def _compile(unet: UNet3DConditionModel) -> None:
    """Compile the blocks in this process: the processor time of the compiler's own worker processes is not known."""
    import torch._inductor.config as compiler

    compiler.compile_threads = 1
    compile_blocks(unet)


if __name__ == "__main__":
    sys.exit(main())
