"""Runs of the fake steps, and their outputs in a form that can be compared."""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from latentsync.executors.base import Executor
from latentsync.executors.local import LocalExecutor
from latentsync.storage.owned_folder import LOCK, MARKER
from preprocess.plan import plan_steps
from preprocess.progress import Progress
from preprocess.raw_videos import scan_folder
from preprocess.runner import Runner, StepRun
from preprocess.step import Step
from preprocess.store.workspace import open_workspace
from tests.fake_steps import fake_steps

TraceFunction = Callable[[FrameType, str, Any], Any]


def run_steps(
    raw: Path,
    root: Path,
    executor: Executor,
    steps: Sequence[Step] | None = None,
    skipped: Sequence[int] = (),
    numbers: Sequence[int] = (1, 2, 3),
    retry_failed: bool = False,
) -> None:
    """Run steps, by default the fake ones, over a folder."""
    plan = plan_steps(fake_steps() if steps is None else steps, skipped, str)
    files = list(scan_folder(raw, root))
    with open_workspace(root) as workspace:
        Runner(workspace, executor, Progress(is_shown=False), retry_failed).run(plan, numbers, files, len(files))


def run_in_processes(raw: Path, root: Path, kill_at_line: int | None) -> None:
    """Run the fake steps in two worker processes, as the leader of a new process group.

    Args:
        raw, root: input and output folder.
        kill_at_line: number of lines of `preprocess`, counted from the end of the first task, after which the group is
            killed; None: never.
    """
    os.setpgid(0, 0)
    sys.settrace(LineCounter(kill_at_line).trace)
    run_steps(raw, root, LocalExecutor(root / "logs", num_workers=2, start_method="fork"))


class LineCounter:
    """Counts the lines that this process executes in `preprocess` and kills its process group at one of them."""

    def __init__(self, kill_at_line: int | None) -> None:
        self._kill_at_line = kill_at_line
        self._num_lines = 0
        self._counts = False
        self._process = os.getpid()

    def trace(self, frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        """Trace function for `sys.settrace`."""
        if os.getpid() != self._process:
            sys.settrace(None)  # a worker, forked from here
            return None
        self._counts |= frame.f_code is StepRun._save.__code__
        if event == "line" and self._counts:
            self._num_lines += 1
            if self._num_lines == self._kill_at_line:
                os.killpg(0, signal.SIGKILL)
        return self.trace if f"{os.sep}preprocess{os.sep}" in frame.f_code.co_filename else None


def write_raw(folder: Path, *texts: str) -> Path:
    """Create a folder with one file per text."""
    folder.mkdir()
    for index, text in enumerate(texts):
        (folder / f"video {index}.mp4").write_text(text)
    return folder


def tree(root: Path) -> dict[str, bytes]:
    """Return path and content of all files of an output folder except manifests, logs, marker and lock."""
    files = (path for path in root.rglob("*") if path.is_file())
    relative = {path.relative_to(root): path for path in files}
    return {
        str(name): path.read_bytes()
        for name, path in sorted(relative.items())
        if name.parts[0] not in ("manifest", "logs", MARKER, LOCK)
    }


def records(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all manifests, without times and generations."""
    columns = (
        "record_key, clip_key, source, name, path, status, reason, detail, outputs, facts, settings, num_outputs, chain"
    )
    found = {}
    for file in sorted((root / "manifest").glob("[0-9]_*.sqlite")):
        with closing(sqlite3.connect(file)) as database:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone():
                found[file.name] = database.execute(f"SELECT {columns} FROM records ORDER BY record_key").fetchall()
    return found
