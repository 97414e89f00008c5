"""What a step has done: one SQLite file a step, one row a clip, written by the driver alone.

SQLite rather than JSONL, because a row is found by its key in constant memory among millions, a transaction survives
``kill -9``, and a report can read while a run writes.

Rows are never removed. A row belongs to one *chain* (all settings up to its step), and remembers the *generation* (the
runs of the step are counted) that met it last. The current rows are those of the chain last begun which the last
finished run has met, or the one under way.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from latentsync.errors import InputError
from preprocess.clip import Clip
from preprocess.records import Counts, Product, Row, Status, StepRecord
from preprocess.sqlite_file import cannot_write, connect, tables_of
from preprocess.stored_paths import StoredPaths

_PAGE_ROWS = 500
_VISITS_AT_ONCE = 1000
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
    """Where a step's manifest lies below the output folder."""
    return root / "manifest" / f"{number}_{name}.sqlite"


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest; it is only read."""
    return tables_of(path) == _TABLES


class Manifest:
    """The records of one step.

    Args:
        path: the SQLite file; it is made where it is not there.
        root: the output folder; paths in it are stored relative to it, so that it can be moved.

    Raises:
        InputError: the file is no manifest, or cannot be opened.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._paths = StoredPaths(root)
        self._num_visits = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = connect(path, _TABLES)
            self._database.executescript(_SCHEMA)
        except (sqlite3.OperationalError, OSError) as error:
            raise cannot_write(path, error) from error
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be used as a manifest ({error}): move it away, or repair it") from error

    @staticmethod
    def existing(root: Path) -> list["Manifest"]:
        """The manifests of an output folder, by step; none where it has none."""
        files = sorted((root / "manifest").glob("[1-9]_*.sqlite"))
        return [Manifest(path, root) for path in files if is_manifest(path)]

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Saves which rows were met so far, and closes the file."""
        self._database.commit()
        self._database.close()

    @property
    def step(self) -> StepRecord | None:
        """The step as it last ran; None where it never did."""
        text = self._state("step")
        return None if text is None else StepRecord(**json.loads(text))

    @property
    def is_complete(self) -> bool:
        """Whether the last run of the step came to its end."""
        return self._state("complete") == "yes"

    def begin(self, step: StepRecord) -> None:
        """Starts a run of the step."""
        self._set_state(step=json.dumps(asdict(step)), chain=step.chain, complete="no")

    def finish(self) -> None:
        """Ends a run of the step: rows that it did not meet are no longer current."""
        self._set_state(generation=str(self._generation() + 1), complete="yes")

    def record(self, row: Row) -> None:
        """Writes a row in one transaction, over the one of the same key if there is one, and marks it as met."""
        values = (
            row.record_key, row.clip_key, row.source, row.name, self._paths.column(row.input_path),
            row.status, row.reason, _unicode(row.detail), self._dump_products(row), self._paths.dump(dict(row.facts)),
            row.settings, row.seconds, row.finished,
            len(row.products), self._state("chain"), self._generation() + 1,
        )  # fmt: skip
        with self._database:
            self._database.execute(_INSERT, values)

    def visit(self, record_key: str) -> None:
        """Marks a row as met in this run; saved with the next record, with many others, or at the end."""
        query = "UPDATE records SET generation = ? WHERE record_key = ?"
        self._database.execute(query, (self._generation() + 1, record_key))
        self._num_visits += 1
        if self._num_visits % _VISITS_AT_ONCE == 0:
            self._database.commit()

    def is_visited(self, record_key: str) -> bool:
        """Whether this run has met the row."""
        query = "SELECT 1 FROM records WHERE record_key = ? AND generation = ?"
        return self._database.execute(query, (record_key, self._generation() + 1)).fetchone() is not None

    def get(self, record_key: str) -> Row | None:
        """The row of a key, under whatever settings it was made."""
        found = self._database.execute(f"SELECT {_COLUMNS} FROM records WHERE record_key = ?", (record_key,)).fetchone()
        return None if found is None else self._row(found)

    def iter_rows(self, current_only: bool = True, status: Status | None = None) -> Iterator[Row]:
        """Rows by record key: as good as shuffled, but always the same. Read in pages, so that memory is bounded and a
        run can write meanwhile."""
        wanted, values = self._current() if current_only else ("1", ())
        if status is not None:
            wanted, values = f"{wanted} AND status = ?", (*values, status)
        query = f"SELECT {_COLUMNS} FROM records WHERE record_key > ? AND {wanted} ORDER BY record_key LIMIT ?"
        last = ""
        while page := self._database.execute(query, (last, *values, _PAGE_ROWS)).fetchall():
            yield from map(self._row, page)
            last = page[-1][0]

    def iter_outputs(self) -> Iterator[Clip]:
        """The clips that the current rows made."""
        for row in self.iter_rows(status="done"):
            yield from row.outputs

    def counts(self, chain: str | None = None) -> Counts:
        """Sums over the current rows, or over all rows of a chain of settings."""
        wanted, values = self._current() if chain is None else ("chain = ?", (chain,))
        query = (
            "SELECT status, reason, COUNT(*), SUM(num_outputs), SUM(seconds) FROM records "
            f"WHERE {wanted} GROUP BY status, reason"
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
        """The number of the last run that came to its end."""
        return int(self._state("generation") or 0)

    def _state(self, name: str) -> str | None:
        found = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _set_state(self, **values: str) -> None:
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())

    def _dump_products(self, row: Row) -> str:
        return self._paths.dump(
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
            for each in self._paths.load(outputs)
        )
        return Row(
            record_key, clip_key, source, name, self._paths.path(path), status, reason, detail,
            products, self._paths.load(facts), settings, *times,
        )  # fmt: skip


def _unicode(text: str) -> str:
    """Text that can be stored: names that are no Unicode appear with escapes."""
    return text.encode(errors="backslashreplace").decode()
