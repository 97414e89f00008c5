"""A file's name in the caches: a hash of its bytes, so that renamed copies share and changed files do not."""

import hashlib
import json
import stat
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.array_cache import cache_key
from latentsync.storage.atomic import written_whole

_KEY_BYTES = 20
_BLOCK_BYTES = 1 << 20


def content_key(path: Path, index: Path | None = None) -> str:
    """Hash (40 hex digits) of a file's bytes.

    index: folder that remembers keys by (path, size, time of change), so that unchanged files are not read again.
    Raises InputError where the file cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is no file: give a clip that is one")
        entry = None if index is None else _entry(path, index)
        stamp = [status.st_size, status.st_mtime_ns]
        known = None if entry is None else _remembered(entry, stamp)
        if known is not None:
            return known
        key = _hash(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a clip that is there") from error
    except ValueError as error:  # a zero byte in the name
        raise InputError(f"{str(path)!r} is no name of a file: give a clip that is there") from error
    if entry is not None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(entry) as beside:
            beside.write_text(json.dumps({"stamp": stamp, "key": key}))
    return key


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _entry(path: Path, index: Path) -> Path:
    name = cache_key(str(path.resolve()))
    return index / name[:2] / f"{name}.json"


def _remembered(entry: Path, stamp: list[int]) -> str | None:
    try:
        content = json.loads(entry.read_text())
    except (OSError, ValueError):
        return None
    is_same = isinstance(content, dict) and content.get("stamp") == stamp and isinstance(content.get("key"), str)
    return content["key"] if is_same else None
