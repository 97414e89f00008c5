"""Counts the files that older settings left in the step folders; nothing is removed."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from preprocess.manifest import Manifest
from preprocess.report.numbers import StaleFiles


def count_stale(manifests: Sequence[Manifest], output: Path) -> StaleFiles:
    """Files of clips (not lists beside them) that no current row of the manifests names.

    The names are compared in a temporary database, which SQLite moves to disk when it grows.
    """
    num_files, num_bytes = 0, 0.0
    for manifest in manifests:
        step = manifest.step
        if step is None or step.folder is None:
            continue
        folder = output / step.folder
        database = sqlite3.connect("")
        try:
            database.execute("CREATE TABLE current (path BLOB PRIMARY KEY) WITHOUT ROWID")
            names = ((os.fsencode(path),) for path in _current_files(manifest))
            database.executemany("INSERT OR IGNORE INTO current VALUES (?)", names)
            for entry in _clip_files(folder):
                query = "SELECT 1 FROM current WHERE path = ?"
                if database.execute(query, (os.fsencode(os.path.abspath(entry.path)),)).fetchone() is None:
                    stat = entry.stat(follow_symlinks=False)
                    num_files += 1
                    num_bytes += stat.st_size / max(1, stat.st_nlink)
        finally:
            database.close()
    return StaleFiles(num_files, round(num_bytes))


def _current_files(manifest: Manifest) -> Iterator[Path]:
    for row in manifest.iter_rows(status="done"):
        for product in row.products:
            yield product.clip.path
            yield from (Path(str(product.clip.facts[name])) for name in product.sidecars)


def _clip_files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Files in the two-digit folders of a step's folder."""
    try:
        groups = [entry.path for entry in os.scandir(folder) if len(entry.name) == 2 and entry.is_dir()]
    except OSError:  # a step that kept nothing has no folder
        return
    for group in groups:
        with os.scandir(group) as entries:
            yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))
