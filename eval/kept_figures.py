"""Figures measured once and kept on disk by content: one small JSON file a (video, metric)."""

import json
from pathlib import Path
from typing import Any

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write


class KeptFigures:
    """JSON objects by key: `<folder>/<first two digits>/<key>.json`; a file appears whole, nothing is ever removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key; None where there is nothing, or its file is damaged."""
        try:
            content = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write(self, key: str, content: dict[str, Any]) -> None:
        """Keeps plain values under a key. Raises InputError where the folder cannot be written."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as beside:
                beside.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written ({error.strerror}): name another --out") from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
