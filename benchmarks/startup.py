"""Measure the start-up of the commands: processor time and wall-clock time, the fastest of several runs.

    python -m benchmarks.startup
    python -m benchmarks.startup --only inference.sh --repeat 5

Rows: `--help` of each command, dry runs, and lip-sync of a single window (16 frames of the demo video, one denoising
step), which also contains face detection, both networks and the encode. The time of ffmpeg is included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from latentsync.cli import OneLineParser, run_command
from latentsync.errors import ToolError
from latentsync.weights import REPOSITORY_ROOT
from scripts.inference import DEMO_AUDIO

WINDOW_S = 16 / 25
_SHELL_SCRIPTS = ("inference.sh", "adapt.sh", "train_unet.sh", "train_syncnet.sh", "data_processing_pipeline.sh")
_EVAL_SCRIPTS = ("eval/eval_sync_conf.sh", "eval/eval_syncnet_acc.sh")
_MODULES = ("scripts.download_weights", "eval.run", "eval.inference_videos", "eval.compare", "latentsync.doctor")


class Seconds(NamedTuple):
    """Times of one run; `processor` is the user and system time of the process and its descendants."""

    processor: float
    wall: float


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the commands by description; those that generate a video write it into the folder."""
    speech = folder / "window.wav"
    with wave.open(str(DEMO_AUDIO)) as whole, wave.open(str(speech), "wb") as window:
        window.setparams(whole.getparams())
        window.writeframes(whole.readframes(round(WINDOW_S * whole.getframerate())))
    inference = [str(REPOSITORY_ROOT / "inference.sh"), "--video_out_path", str(folder / "out.mp4")]
    scripts = {name: [str(REPOSITORY_ROOT / name)] for name in (*_SHELL_SCRIPTS, *_EVAL_SCRIPTS)}
    modules = {f"python -m {name}": [sys.executable, "-m", name] for name in _MODULES}
    app = {"python gradio_app.py": [sys.executable, str(REPOSITORY_ROOT / "gradio_app.py")]}
    return {
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        **{f"{name} --help": [*command, "--help"] for name, command in {**scripts, **app, **modules}.items()},
        "inference.sh --dry_run": [*inference, "--dry_run"],
        "inference.sh, one window, one step": [*inference, "--audio_path", str(speech), "--inference_steps", "1"],
    }


def measure(command: Sequence[str], repeat: int) -> Seconds:
    """Return the smallest processor time and the smallest wall-clock time of several runs.

    Raises:
        ToolError: the command fails.
    """
    runs = []
    for _ in range(repeat):
        before, started = _processor_seconds(), time.monotonic()
        done = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise ToolError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
        runs.append(Seconds(_processor_seconds() - before, time.monotonic() - started))
    return Seconds(min(run.processor for run in runs), min(run.wall for run in runs))


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_table(only: Sequence[str], repeat: int) -> int:
    """Measure the commands whose description contains one of the words and print the table; return 0."""
    with tempfile.TemporaryDirectory() as folder:
        print("| command | processor time, s | wall-clock, s |\n|---|---|---|")
        for name, command in commands(Path(folder)).items():
            if not only or any(word in name for word in only):
                seconds = measure(command, repeat)
                print(f"| `{name}` | {seconds.processor:.2f} | {seconds.wall:.2f} |", flush=True)
    return 0


def main() -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog="python -m benchmarks.startup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="only rows that contain one of the words")
    parser.add_argument("--repeat", type=int, default=3, help="runs per row (default: %(default)s)")
    options = parser.parse_args()
    return run_command(lambda: print_table(options.only, options.repeat))


if __name__ == "__main__":
    sys.exit(main())
