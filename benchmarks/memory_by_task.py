"""Measure the peak memory of each task with the demo weights: resident memory of all its processes together.

    python -m benchmarks.memory_by_task --clips data/train --held_out data/val

Prints a Markdown table. Runs one command at a time in a temporary folder and samples its process tree five times per
second. Pages that processes share are counted in each of them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from latentsync.cli import OneLineParser
from latentsync.weights import REPOSITORY_ROOT

_LOOK_EVERY_S = 0.2
_MIB = 1024**2


def tasks(clips: Path, held_out: Path) -> Mapping[str, Sequence[str]]:
    """Return the commands by task; they write to the current folder."""
    data = [f"data.train_clips={clips.resolve()}", f"data.validation_clips={held_out.resolve()}"]
    short = ["training.max_steps=3", "training.validate_every=1000", "training.num_workers=1"]
    configs, assets = REPOSITORY_ROOT / "configs", REPOSITORY_ROOT / "assets"
    raw = Path("raw")
    raw.mkdir()
    (raw / "person.mp4").symlink_to(assets / "demo1_video.mp4")
    return {
        "lip-sync the demo video (138 frames, 512 px)": [str(REPOSITORY_ROOT / "inference.sh")],
        "train the demo SyncNet (batch 8)": [
            str(REPOSITORY_ROOT / "train_syncnet.sh"), "--config", str(configs / "demo/syncnet.yaml"), *data, *short,
        ],
        "train the demo U-Net, stage 1 (batch 12 x 8 frames)": [
            str(REPOSITORY_ROOT / "train_unet.sh"), "--config", str(configs / "demo/unet_stage1.yaml"), *data, *short,
        ],
        "training clips of the demo video (one worker)": [
            str(REPOSITORY_ROOT / "data_processing_pipeline.sh"), "--config", str(configs / "preprocess/demo.yaml"),
            "--input_dir", str(raw), "--output_dir", "out", "--num_workers", "1",
        ],
    }  # fmt: skip


def peak_memory_mib(command: Sequence[str]) -> float:
    """Return the peak resident memory of a command and its subprocesses in MiB.

    Raises:
        RuntimeError: the command fails.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, _resident(root))
        time.sleep(_LOOK_EVERY_S)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return peak / _MIB


def _resident(root: psutil.Process) -> int:
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> int:
    """Measure the tasks and print the table."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder with a few training clips")
    parser.add_argument("--held_out", type=Path, required=True, help="folder with a few other clips")
    arguments = parser.parse_args()
    clips, held_out = arguments.clips.resolve(), arguments.held_out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print("| task | peak memory, MiB |\n|---|---|")
        for name, command in tasks(clips, held_out).items():
            print(f"| {name} | {peak_memory_mib(command):.0f} |", flush=True)
        os.chdir(REPOSITORY_ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
