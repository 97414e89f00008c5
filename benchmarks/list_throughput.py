"""Measure lists of jobs in workers: throughput, overhead of the local executor, and memory over many jobs.

    python -m benchmarks.list_throughput
    python -m benchmarks.list_throughput --only overhead memory

Throughput: the same list as a command of its own, with every way to divide two cores, and with several batch sizes.
Overhead: tasks that do nothing. Memory: lists of one-frame videos in one worker.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from latentsync.cli import OneLineParser, run_command
from latentsync.errors import ToolError
from latentsync.executors.base import Failed, Work
from latentsync.executors.local import LocalExecutor
from latentsync.recipes.list_maker import ListMaker
from latentsync.recipes.list_run import make_all
from latentsync.recipes.video_list import read_jobs
from latentsync.storage.temporary_files import temporary_folder
from scripts import inference

PARTS = ("throughput", "overhead", "memory")
ROWS = {
    "this process, all cores": (),
    "1 worker, all cores": ("--executor", "local", "--workers", "1"),
    "2 workers": ("--executor", "local", "--workers", "2"),
    "2 workers, --batch_size 2": ("--executor", "local", "--workers", "2", "--batch_size", "2"),
    "2 workers, --batch_size 4": ("--executor", "local", "--workers", "2", "--batch_size", "4"),
}
"""Arguments of the command by the title of the row; the first row is what the others are compared with."""
_FRAME_S = 1 / 25
_BYTES_PER_MIB = 1 << 20


def write_list(folder: Path, num_jobs: int, seconds: float) -> Path:
    """Write a list of jobs with the demo video and the beginning of the demo speech; return its path."""
    folder.mkdir()
    shutil.copy(inference.DEMO_VIDEO, folder / "face.mp4")
    with wave.open(str(inference.DEMO_AUDIO)) as whole, wave.open(str(folder / "speech.wav"), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(round(seconds * whole.getframerate())))
    lines = [f"face.mp4,speech.wav,{index}.mp4\n" for index in range(num_jobs)]
    path = folder / "jobs.csv"
    path.write_text(f"video_path,audio_path,video_out_path\n{''.join(lines)}", encoding="utf-8")
    return path


def throughput(folder: Path, num_jobs: int, seconds: float, repeat: int) -> list[str]:
    """Return a table with the shortest time of the command in every row of `ROWS`, loading included.

    The rows take turns, so that another load of the machine affects all of them.

    Raises:
        ToolError: the command failed.
    """
    times: dict[str, list[float]] = {title: [] for title in ROWS}
    for turn in range(repeat):
        for number, (title, arguments) in enumerate(ROWS.items()):
            jobs = write_list(folder / f"turn_{turn}_row_{number}", num_jobs, seconds)
            times[title].append(command_seconds(["--list", str(jobs), *arguments]))
            sys.stderr.write(f"{title}: {times[title][-1]:.0f} s\n")
    lines = ["| list | seconds | jobs per hour | ratio |", "|---|---|---|---|"]
    first_s = min(next(iter(times.values())))
    for title, found in times.items():
        best_s = min(found)
        lines.append(f"| {title} | {best_s:.0f} | {num_jobs * 3600 / best_s:.0f} | {first_s / best_s:.2f} |")
    return lines


def command_seconds(arguments: Sequence[str]) -> float:
    """Return how long the inference command takes.

    Raises:
        ToolError: the command failed.
    """
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "scripts.inference", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ToolError(f"scripts.inference {' '.join(arguments)} failed: {done.stdout} {done.stderr}")
    return time.monotonic() - started


@dataclass(frozen=True)
class IdleWork(Work[int, None]):
    """Work that does nothing."""

    @property
    def name(self) -> str:
        """Name of logs."""
        return "idle"

    @property
    def title(self) -> str:
        """Name in messages."""
        return "no work"

    @property
    def uses_device(self) -> bool:
        """False: no network."""
        return False

    def load(self, device: torch.device) -> Callable[[int], Failed | None]:
        """Return a function that does nothing."""
        return lambda task: None


def overhead(num_tasks: int) -> list[str]:
    """Return the time per task of the local executor, from the end of the first task to that of the last."""
    lines = ["| workers | tasks | milliseconds per task | first task after |", "|---|---|---|---|"]
    for num_workers in (1, 2):
        ends, started = [], time.monotonic()
        for _ in LocalExecutor(None, num_workers).run(IdleWork(), range(1, num_tasks + 1)):
            ends.append(time.monotonic())
        each_ms = 1000 * (ends[-1] - ends[0]) / (num_tasks - 1)
        lines.append(f"| {num_workers} | {len(ends)} | {each_ms:.2f} | {ends[0] - started:.1f} s |")
    return lines


def memory(folder: Path, num_jobs: int) -> list[str]:
    """Return the memory of this process and of its worker after some of the jobs of a list of one-frame videos."""
    path = write_list(folder / "memory", num_jobs, _FRAME_S)
    arguments = ["--list", str(path), "--inference_steps", "1"]
    maker = ListMaker(inference.build_parser().parse_args(arguments))
    jobs = dict(enumerate(read_jobs(path, maker.default.options, maker.default.files())))
    lines = ["| jobs | main process, MiB | worker, MiB |", "|---|---|---|"]
    shown = {num_jobs * share // 8 for share in (1, 2, 4, 6, 8)}
    with closing(make_all(jobs, maker, LocalExecutor(None, 1))) as ended:
        for number, (_, outcome) in enumerate(ended, start=1):
            if outcome.error is not None:
                raise ToolError(outcome.error)
            if number in shown:
                main, worker = memory_bytes()
                lines.append(f"| {number} | {main / _BYTES_PER_MIB:.0f} | {worker / _BYTES_PER_MIB:.0f} |")
    return lines


def memory_bytes() -> tuple[int, int]:
    """Return the resident memory of this process and that of its largest descendant."""
    this = psutil.Process(os.getpid())
    return this.memory_info().rss, max(each.memory_info().rss for each in this.children(recursive=True))


def run(options: argparse.Namespace) -> int:
    """Measure the chosen parts and print a table of each."""
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        if "throughput" in options.only:
            print(
                "\n".join(throughput(folder, options.num_jobs, options.seconds, options.repeat)), end="\n\n", flush=True
            )
        if "overhead" in options.only:
            print("\n".join(overhead(options.num_tasks)), end="\n\n", flush=True)
        if "memory" in options.only:
            print("\n".join(memory(folder, options.num_short_jobs)), flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=PARTS)
    add("--num_jobs", type=int, default=6, help="jobs of the throughput table (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="length of their speech (default: %(default)s)")
    add("--repeat", type=int, default=2, help="turns of the throughput table (default: %(default)s)")
    add("--num_tasks", type=int, default=1000, help="tasks of the overhead table (default: %(default)s)")
    add("--num_short_jobs", type=int, default=200, help="jobs of the memory table (default: %(default)s)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
