"""The folder of a run's checkpoints: each appears whole or not at all; the last few and the best stay."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import CheckpointError

STATE_FILE = "trainer_state.json"
CONFIG_FILE = "config.yaml"
_STEP_FOLDER = re.compile(r"step_(\d{8,})")
_PARTIAL_FOLDER = re.compile(r"\.step_\d{8,}\.(partial|removed)")


@dataclass
class Progress:
    """Where a training stands; saved with every checkpoint.

    Attributes:
        global_step: optimizer steps done.
        samples_seen: items seen by all processes together.
        seconds: time spent in steps, without validating and saving.
        num_skipped_steps: steps the fp16 scaler skipped because a gradient overflowed.
        best_value: best validation figure so far.
        best_step: where it was.
    """

    global_step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    num_skipped_steps: int = 0
    best_value: float | None = None
    best_step: int | None = None


class CheckpointFolder:
    """`<run_dir>/checkpoints`, shared by all processes of a run (on several machines: on a shared file system)."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "checkpoints"

    def complete(self) -> list[Path]:
        """All complete checkpoints, the oldest first."""
        if not self.path.is_dir():
            return []
        found = [path for path in self.path.iterdir() if _STEP_FOLDER.fullmatch(path.name) and not path.is_symlink()]
        return sorted((path for path in found if (path / STATE_FILE).is_file()), key=step_of)

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return next(reversed(self.complete()), None)

    def partial(self, step: int) -> Path:
        """Where the checkpoint of a step is written before it is complete."""
        return self.path / f".step_{step:08d}.partial"

    def final(self, step: int) -> Path:
        """Where the checkpoint of a step is in the end."""
        return self.path / f"step_{step:08d}"

    def finish(self, step: int) -> Path:
        """Gives a complete partial checkpoint its final name."""
        final = self.final(step)
        if final.exists():  # of an earlier attempt that was continued from before it
            self._remove(final)
        os.replace(self.partial(step), final)
        return final

    def prune(self, keep_last: int, best_step: int | None) -> None:
        """Removes all complete checkpoints but the last `keep_last` and the best."""
        for path in self.complete()[:-keep_last]:
            if step_of(path) != best_step:
                self._remove(path)

    def remove_partial(self) -> None:
        """Removes what a killed run left half written."""
        if self.path.is_dir():
            for path in self.path.iterdir():
                if _PARTIAL_FOLDER.fullmatch(path.name):
                    shutil.rmtree(path)

    def link_best(self, step: int) -> None:
        """Lets `checkpoints/best` point to the checkpoint of a step."""
        beside = self.path / ".best.partial"
        beside.unlink(missing_ok=True)
        beside.symlink_to(self.final(step).name, target_is_directory=True)
        os.replace(beside, self.path / "best")

    def publish(self, step: int, name: str) -> Path:
        """Puts a file or folder of a checkpoint into the run folder too, without a second copy of the content.

        A folder that is there already gives way as a whole, never file by file.
        """
        source, target = self.final(step) / name, self.run_dir / name
        beside = self.run_dir / f".{name}.partial"
        if source.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(source, beside, copy_function=_share)
            if target.is_dir():
                self._remove(target)
        else:
            beside.unlink(missing_ok=True)
            _share(source, beside)
        os.replace(beside, target)
        return target

    def _remove(self, path: Path) -> None:
        hidden = path.with_name(f".{path.name}.removed")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        shutil.rmtree(hidden)


def _share(source: Path | str, target: Path | str) -> None:
    """Gives a file a second name; copies it on a file system without hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def step_of(path: Path) -> int:
    """The step of a checkpoint folder.

    Raises:
        CheckpointError: the name is not one of a checkpoint.
    """
    match = _STEP_FOLDER.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path} is no checkpoint folder: its name reads like step_00000100")
    return int(match[1])


def write_state(folder: Path, progress: Progress) -> None:
    """Writes the file that makes a folder a complete checkpoint."""
    (folder / STATE_FILE).write_text(json.dumps(vars(progress), indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> Progress:
    """Reads a checkpoint's progress.

    Raises:
        CheckpointError: the folder is no complete checkpoint.
    """
    try:
        return Progress(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is no complete checkpoint ({STATE_FILE}: {error}): give another with resume=, or resume=latest"
        ) from error


def differing_keys(saved: Mapping[str, Any], current: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of the values in which two nested configurations differ."""
    for key in dict.fromkeys([*saved, *current]):
        name = f"{prefix}{key}"
        old, new = saved.get(key), current.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differing_keys(old, new, f"{name}.")
        elif old != new:
            yield name
