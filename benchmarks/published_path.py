"""Measure time and memory of each part of inference with random weights of the published sizes.

    python -m benchmarks.published_path --video talk.mp4 --audio speech.wav --out runs/published_path

Writes random weights in the published formats into a temporary folder (5.5 GB, removed at the end) and runs the code of
./inference.sh on the first frames of a video, in a separate process for each resolution. Prints a Markdown table; --out
names a folder for the table and its values as JSON. Neither time nor memory depends on the values of the weights. The
stages of the pipeline overlap, so the sum of the parts may exceed the total.

--ways default published measures the defaults and then the published system's way of the same work, `--exact --dtype
float32`: plain layers in its number format, sampled latents, windows without overlap.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_report.document import claim_report
from benchmarks.measurement import markdown_table
from benchmarks.pipeline_parts import PartClock, PartUsage, parts_counted
from benchmarks.random_weights import write_config, write_weights
from benchmarks.weight_sizes import PUBLISHED, TINY
from latentsync.cli import OneLineParser, run_command
from latentsync.device import describe_device, resolve_device
from latentsync.errors import LatentSyncError
from latentsync.media.probe import probe_audio, probe_video
from latentsync.media.transcode import cut_audio
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from latentsync.storage.atomic import atomic_write
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import UNET
from scripts import inference

FPS = 25
DEFAULT_FRAMES = {256: 32, 512: 16}
SIZES = {"published": PUBLISHED, "tiny": TINY}
WHOLE = "whole"
WAYS = {"default": (), "published": ("--exact", "--detector", "mtcnn", "--dtype", "float32")}
"""Arguments of ./inference.sh; mtcnn, because the weights of the published detector may be missing."""
COLUMNS = ("part", "seconds", "calls", "all processes, GiB", "accelerator, GiB")


@dataclass(frozen=True)
class PathRun:
    """One measured run.

    Attributes:
        folder: folder of weights and configuration.
        config: the U-Net's configuration.
        video, audio: the inputs; the result is as long as the audio.
        num_steps: denoising steps.
        device, dtype: arguments of ./inference.sh.
        way: one of `WAYS`, whose arguments win.
    """

    folder: Path
    config: Path
    video: Path
    audio: Path
    num_steps: int
    device: str
    dtype: str
    way: str


def measure(run: PathRun) -> dict[str, Any]:
    """Run inference in this process; return facts of the run and {"parts": {name: PartUsage as a dict}}."""
    out = run.folder / "out.mp4"
    arguments = inference.build_parser().parse_args(
        [
            "--unet_config_path", str(run.config), "--inference_ckpt_path", str(run.folder / UNET),
            "--inference_steps", str(run.num_steps), "--device", run.device, "--dtype", run.dtype, *WAYS[run.way],
        ]
    )  # fmt: skip
    chosen = ChosenPipeline.of(arguments)
    build = chosen.build
    start = time.perf_counter()
    with PartClock(build.device) as clock, clock.part(WHOLE):
        with clock.part("load", on_device=True):
            pipeline = chosen.load()
        loaded, processor_loaded = time.perf_counter(), time.process_time()
        with parts_counted(pipeline, clock):
            report = pipeline(run.video, run.audio, out, chosen.options, temp_dir=run.folder)
        seconds, processor_seconds = time.perf_counter() - loaded, time.process_time() - processor_loaded
    clock.usage[WHOLE].seconds = time.perf_counter() - start
    parts = [name for name in clock.usage if name != WHOLE]
    return {
        "device": describe_device(build.device),
        "dtype": str(build.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "num_frames": report.num_frames,
        "num_synced": report.num_synced,
        "num_steps": run.num_steps,
        "way": run.way,
        "seconds_per_frame": seconds / report.num_frames,
        "processor_seconds_per_frame": processor_seconds / report.num_frames,
        "parts": {name: asdict(clock.usage[name]) for name in [*parts, WHOLE]},
    }


def measure_apart(run: PathRun) -> dict[str, Any]:
    """Run `measure` in a new process, which excludes the memory of this one; it ends when this one is interrupted.

    Raises:
        LatentSyncError: inference failed.
        RuntimeError: the process ended without a result.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, run), daemon=True)
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measured process ended with status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if isinstance(result, LatentSyncError):
        raise result
    return result


def _send_result(sender: Connection, run: PathRun) -> None:
    try:
        sender.send(measure(run))
    except LatentSyncError as error:
        sender.send(error)


def table(resolution: int, result: dict[str, Any]) -> str:
    """Return a heading and a Markdown table of one run."""
    rows = []
    for name, values in result["parts"].items():
        usage = PartUsage(**values)
        cells = (name, usage.seconds, usage.num_calls, usage.memory_gib, usage.device_memory_gib)
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    line = (
        f"{result['way']}, {resolution} px, {result['num_frames']} frames, {result['num_steps']} steps, "
        f"{result['dtype']} on {result['device']}, PyTorch {result['torch']}; after loading, per frame: "
        f"{result['seconds_per_frame']:.3g} s, {result['processor_seconds_per_frame']:.3g} s of CPU time:"
    )
    columns = COLUMNS if any(row[COLUMNS[-1]] is not None for row in rows) else COLUMNS[:-1]
    return f"{line}\n\n{markdown_table(columns, rows)}\n"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, nargs="+", default=[256, 512], choices=[256, 512])
    parser.add_argument("--frames", type=int, help="frames of the result (default: 32 at 256 px, 16 at 512 px)")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps (default: %(default)s)")
    parser.add_argument("--video", type=Path, default=inference.DEMO_VIDEO, help="source video (default: the demo's)")
    parser.add_argument("--audio", type=Path, default=inference.DEMO_AUDIO, help="driving audio (default: the demo's)")
    parser.add_argument("--device", default="auto", help="see ./inference.sh --help")
    parser.add_argument("--dtype", default="auto", help="see ./inference.sh --help")
    parser.add_argument("--size", choices=list(SIZES), default="published", help="tiny is for tests")
    parser.add_argument("--ways", nargs="+", default=["default"], choices=list(WAYS), help="(default: default)")
    parser.add_argument("--out", type=Path, help="folder for published_path.md and published_path.json")
    return parser


def run(options: argparse.Namespace) -> dict[int, dict[str, dict[str, Any]]]:
    """Measure each resolution in each way, print its table, and return the values by resolution and way."""
    resolve_device(options.device)
    probe_video(options.video)
    probe_audio(options.audio)
    results: dict[int, dict[str, dict[str, Any]]] = {}
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        write_weights(folder, SIZES[options.size])
        for resolution in options.resolution:
            audio = folder / f"speech_{resolution}.wav"
            cut_audio(options.audio, audio, (options.frames or DEFAULT_FRAMES[resolution]) / FPS)
            config = write_config(folder, resolution, SIZES[options.size])
            results[resolution] = {}
            for way in options.ways:
                job = PathRun(folder, config, options.video, audio, options.steps, options.device, options.dtype, way)
                results[resolution][way] = measure_apart(job)
                print(table(resolution, results[resolution][way]), flush=True)
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: _main(options), when_stopped="the temporary weights were removed")


def _main(options: argparse.Namespace) -> int:
    if options.out is not None:
        claim_report(options.out)
    results = run(options)
    if options.out is not None:
        text = "\n".join(table(size, result) for size, ways in results.items() for result in ways.values())
        for file, content in {"published_path.md": text, "published_path.json": json.dumps(results, indent=1)}.items():
            with atomic_write(options.out / file) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
