"""Manifest of a step: an SQLite file with one row per clip, written by the main process alone.

SQLite is used instead of JSONL, because a row among millions is found by its key in constant memory, a transaction
survives ``kill -9``, and a report can read while a run writes.

Rows are never removed. A row belongs to a *chain* (key of all settings up to its step) and stores the *generation*, the
number of the last run of the step in which its clip appeared. Current rows are those of the chain of the last run which
appeared in the last finished run, or in the run in progress.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from preprocess.step import Clip
from preprocess.store.database import SqliteFile, StoredPaths, tables_of
from preprocess.store.records import Counts, Product, Row, Status, StepRecord

_PAGE_ROWS = 500
_COMMIT_EVERY = 1000
_SCHEMA = """
PRAGMA journal_mode = TRUNCATE;
CREATE TABLE IF NOT EXISTS records (
    record_key TEXT PRIMARY KEY, clip_key TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, path NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, outputs TEXT NOT NULL, facts TEXT NOT NULL,
    settings TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL,
    num_outputs INTEGER NOT NULL, chain TEXT NOT NULL, generation INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_TABLES = {"records", "state"}
_COLUMNS = (
    "record_key, clip_key, source, name, path, status, reason, detail, outputs, facts, settings, seconds, finished"
)
_INSERT = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def manifest_path(root: Path, number: int, name: str) -> Path:
    """Return the path of a step's manifest below the output folder."""
    return root / "manifest" / f"{number}_{name}.sqlite"


def is_manifest(path: Path) -> bool:
    """Return True if a file is a manifest; it is only read."""
    return tables_of(path) == _TABLES


class Manifest(SqliteFile):
    """Records of one step.

    Args:
        path: the SQLite file; it is created if it is missing.
        root: the output folder; paths in it are stored relative to it, so that it can be moved.

    Raises:
        InputError: the file is not a manifest, or cannot be opened.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._paths = StoredPaths(root)
        self._num_visits = 0
        super().__init__(path, _TABLES, _SCHEMA, "as a manifest", "move it away, or repair it")

    @staticmethod
    def existing(root: Path) -> list["Manifest"]:
        """Return the manifests of an output folder in the order of the steps."""
        files = sorted((root / "manifest").glob("[1-9]_*.sqlite"))
        return [Manifest(path, root) for path in files if is_manifest(path)]

    @property
    def step(self) -> StepRecord | None:
        """Description of the step as it last ran, or None if it never ran."""
        text = self._state("step")
        return None if text is None else StepRecord(**json.loads(text))

    @property
    def is_complete(self) -> bool:
        """True if the last run of the step finished."""
        return self._state("complete") == "yes"

    def begin(self, step: StepRecord) -> None:
        """Start a run of the step."""
        self._set_state(step=json.dumps(asdict(step)), chain=step.chain, complete="no")

    def finish(self) -> None:
        """End a run of the step: rows whose clips did not appear in it are no longer current."""
        self._set_state(generation=str(self._generation() + 1), complete="yes")

    def record(self, row: Row) -> None:
        """Write a row in one transaction, replacing a row with the same key, and mark it as current."""
        values = (
            row.record_key, row.clip_key, row.source, row.name, self._paths.to_column(row.input_path),
            row.status, row.reason, _unicode(row.detail), self._dump_products(row),
            self._paths.to_json(dict(row.facts)), row.settings, row.seconds, row.finished,
            len(row.products), self._state("chain"), self._generation() + 1,
        )  # fmt: skip
        with self._database:
            self._database.execute(_INSERT, values)

    def visit(self, record_key: str) -> None:
        """Mark a row as current in this run.

        Saved with the next record, after `_COMMIT_EVERY` marks, or when the file is closed.
        """
        query = "UPDATE records SET generation = ? WHERE record_key = ?"
        self._database.execute(query, (self._generation() + 1, record_key))
        self._num_visits += 1
        if self._num_visits % _COMMIT_EVERY == 0:
            self._database.commit()

    def is_visited(self, record_key: str) -> bool:
        """Return True if the row is current in this run."""
        query = "SELECT 1 FROM records WHERE record_key = ? AND generation = ?"
        return self._database.execute(query, (record_key, self._generation() + 1)).fetchone() is not None

    def get(self, record_key: str) -> Row | None:
        """Return the row with this key, or None."""
        found = self._database.execute(f"SELECT {_COLUMNS} FROM records WHERE record_key = ?", (record_key,)).fetchone()
        return None if found is None else self._row(found)

    def iter_rows(self, current_only: bool = True, status: Status | None = None) -> Iterator[Row]:
        """Yield rows in the order of their keys, which is random but always the same.

        Rows are read in pages, so that memory is bounded and a run can write at the same time.

        Args:
            current_only: yield only current rows.
            status: yield only rows with this status.
        """
        condition, values = self._current() if current_only else ("1", ())
        if status is not None:
            condition, values = f"{condition} AND status = ?", (*values, status)
        query = f"SELECT {_COLUMNS} FROM records WHERE record_key > ? AND {condition} ORDER BY record_key LIMIT ?"
        last = ""
        while page := self._database.execute(query, (last, *values, _PAGE_ROWS)).fetchall():
            yield from map(self._row, page)
            last = page[-1][0]

    def iter_outputs(self) -> Iterator[Clip]:
        """Yield the output clips of the current rows."""
        for row in self.iter_rows(status="done"):
            yield from row.outputs

    def counts(self, chain: str | None = None) -> Counts:
        """Return sums over the current rows, or over all rows with this chain key."""
        condition, values = self._current() if chain is None else ("chain = ?", (chain,))
        query = (
            "SELECT status, reason, COUNT(*), SUM(num_outputs), SUM(seconds) FROM records "
            f"WHERE {condition} GROUP BY status, reason"
        )
        groups = self._database.execute(query, values).fetchall()
        by_status: Counter[str] = Counter()
        for status, _, num_rows, _, _ in groups:
            by_status[status] += num_rows
        return Counts(
            num_done=by_status["done"],
            num_rejected=by_status["rejected"],
            num_failed=by_status["failed"],
            num_outputs=sum(num_outputs for *_, num_outputs, _ in groups),
            reasons={(status, reason): num_rows for status, reason, num_rows, _, _ in groups},
            seconds=sum(seconds for *_, seconds in groups),
        )

    def _current(self) -> tuple[str, tuple[str | int | None, ...]]:
        return "chain = ? AND generation >= ?", (self._state("chain"), self._generation())

    def _generation(self) -> int:
        """Return the number of the last finished run."""
        return int(self._state("generation") or 0)

    def _state(self, name: str) -> str | None:
        found = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _set_state(self, **values: str) -> None:
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())

    def _dump_products(self, row: Row) -> str:
        return self._paths.to_json(
            [
                {
                    "key": product.clip.key,
                    "name": product.clip.name,
                    "path": str(product.clip.path),
                    "facts": dict(product.clip.facts),
                    "num_bytes": product.num_bytes,
                    "sidecars": list(product.sidecars),
                }
                for product in row.products
            ]
        )

    def _row(self, values: tuple[Any, ...]) -> Row:
        record_key, clip_key, source, name, path, status, reason, detail, outputs, facts, settings, *times = values
        products = tuple(
            Product(
                Clip(each["key"], source, each["name"], Path(each["path"]), each["facts"]),
                each["num_bytes"],
                tuple(each["sidecars"]),
            )
            for each in self._paths.from_json(outputs)
        )
        return Row(
            record_key, clip_key, source, name, self._paths.from_column(path), status, reason, detail,
            products, self._paths.from_json(facts), settings, *times,
        )  # fmt: skip


def _unicode(text: str) -> str:
    """Return text that can be stored: characters of undecodable file names are replaced by escapes."""
    return text.encode(errors="backslashreplace").decode()
