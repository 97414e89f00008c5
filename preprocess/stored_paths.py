"""How paths are stored in a manifest: relative to the output folder where they lie in it, so that it can be moved."""

import json
import os
from pathlib import Path
from typing import Any

from preprocess.clip import JsonValue

_MARK = "$path"


class StoredPaths:
    """Turns paths and values with paths into what SQLite and JSON hold, and back.

    root: the output folder; strings in facts that are a path in it count as paths.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))
        self._prefix = os.path.join(self._root, "")

    def column(self, path: Path) -> str | bytes:
        """A path for a column: text, or bytes where the name is no Unicode."""
        text = os.path.abspath(path).removeprefix(self._prefix)
        try:
            text.encode()
        except UnicodeEncodeError:
            return os.fsencode(text)
        return text

    def path(self, stored: str | bytes) -> Path:
        """The absolute path of what `column` gave."""
        return self._root / os.fsdecode(stored)

    def dump(self, value: JsonValue) -> str:
        """JSON of facts."""
        return json.dumps(self._marked(value))

    def load(self, text: str) -> Any:
        """What `dump` was given."""
        return json.loads(text, object_hook=self._unmarked)

    def _marked(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str) and value.startswith(self._prefix):
            return {_MARK: value.removeprefix(self._prefix)}
        if isinstance(value, dict):
            return {name: self._marked(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._marked(each) for each in value]
        return value

    def _unmarked(self, value: dict[str, Any]) -> Any:
        return str(self._root / value[_MARK]) if _MARK in value else value
