"""Time of the whole command with the settings of a row: `./inference.sh` on the bundled demo."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed_ladder.ladder import Ladder
from benchmarks.speed_ladder.rows import Row
from eval.stored_results import ResultStore
from latentsync.errors import ToolError
from latentsync.weights import REPOSITORY_ROOT


@dataclass(frozen=True)
class WholeTime:
    """Wall-clock time, and processor time of the command with its children, in seconds."""

    wall_s: float
    processor_s: float


def measure_whole(ladder: Ladder, row: Row) -> None:
    """Run the command once with all its threads, and store its time; a shorter stored time of the row stays.

    Raises:
        ToolError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.mp4"
        command = [sys.executable, "-m", "scripts.inference", *ladder.weights, *row.arguments]
        before, start = os.times(), time.monotonic()
        done = subprocess.run(
            [*command, "--video_out_path", str(out)], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False
        )
        wall_s, after = time.monotonic() - start, os.times()
    if done.returncode != 0:
        raise ToolError(f"inference failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    processor_s = after.children_user + after.children_system - before.children_user - before.children_system
    stored = stored_wholes(ladder, [row]).get(row.name)
    best = WholeTime(wall_s, processor_s) if stored is None or wall_s < stored.wall_s else stored
    _store(ladder).write(ladder.time_key(row), {"wall_s": best.wall_s, "processor_s": best.processor_s})


def stored_wholes(ladder: Ladder, rows: Sequence[Row]) -> dict[str, WholeTime]:
    """Return the stored times by the row's name."""
    found = {row.name: _store(ladder).read(ladder.time_key(row)) for row in rows}
    return {name: WholeTime(**content) for name, content in found.items() if content is not None}


def _store(ladder: Ladder) -> ResultStore:
    return ResultStore(ladder.out / "whole")
