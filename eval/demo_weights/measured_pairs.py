"""Figures of pairs of clips, one JSON line each, so that an interrupted evaluation goes on where it was."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

Figures = dict[str, float]


class MeasuredPairs:
    """Figures by key in `path`; a line that was cut off is left out and measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._figures: dict[str, Figures] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            content = path.read_text(encoding="utf-8")
            for line in content.splitlines():
                self._read(line)
            if content and not content.endswith("\n"):
                self._append("")

    def get(self, key: str, label: str, measure: Callable[[], Figures]) -> Figures:
        """The figures of a key, measured and written down where they are not there; the label is for people."""
        if key not in self._figures:
            figures = measure()
            self._append(json.dumps({"key": key, "pair": label, "figures": figures}))
            self._figures[key] = figures
        return self._figures[key]

    def _read(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._figures[row["key"]] = row["figures"]
        except (ValueError, KeyError, TypeError):
            if line:
                logger.warning("%s: left out a line that was cut off", self._path)

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
