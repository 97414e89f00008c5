"""Results stored on disk, so that an interrupted evaluation resumes: one JSON file per key, or one line per pair."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.output_file import atomic_output

logger = logging.getLogger(__name__)

Values = dict[str, float]
"""Measured values by name."""


def write_report(report: Mapping[str, Any], out: Path | None) -> None:
    """Write a report as a JSON file atomically; do nothing if no file is named."""
    if out is not None:
        with atomic_output(out) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


class ResultStore:
    """JSON objects by key: `<folder>/<first two digits>/<key>.json`. Files are written atomically and never removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the object of a key, or None if its file is missing or damaged."""
        try:
            content = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write(self, key: str, content: dict[str, Any]) -> None:
        """Store an object; raise InputError if the folder is not writable."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written ({error.strerror}): name another --out") from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def read_log(path: Path) -> Iterator[tuple[str, str, Values]]:
    """Yield key, label and values of every whole line of a `ResultLog`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a folder with results") from error
    for line in filter(None, lines):
        try:
            row = json.loads(line)
            found = row["key"], row["pair"], row["figures"]
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: skipped a truncated line", path)
        else:
            yield found


class ResultLog:
    """Values by key in one JSON lines file, with a label per line for readers. A truncated line is measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Values] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            content = path.read_text(encoding="utf-8")
            self._values = {key: values for key, _, values in read_log(path)}
            if content and not content.endswith("\n"):
                self._append("")

    def get(self, key: str, label: str, measure: Callable[[], Values]) -> Values:
        """Return the values of a key; missing ones are measured and appended with the label."""
        if key not in self._values:
            values = measure()
            self._append(json.dumps({"key": key, "pair": label, "figures": values}))
            self._values[key] = values
        return self._values[key]

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
