"""The jobs on disk: one SQLite table in which every job is recorded before its folder is created, and ends once.

The file survives a killed process: SQLite writes a transaction completely or not at all (WAL, one sync per
transaction). Progress is not recorded, since an interrupted job starts anew.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import InputError, LatentSyncError
from latentsync.jobs.job import JobState

_VERSION = 1
"""Of the table, in SQLite's `user_version`."""
_BUSY_TIMEOUT_S = 10.0
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL DEFAULT '{}',
    result TEXT,
    error TEXT NOT NULL DEFAULT '',
    position INTEGER,
    num_starts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    has_files INTEGER NOT NULL DEFAULT 1,
    is_announced INTEGER NOT NULL DEFAULT 0
)
"""
_COLUMNS = (
    "id, kind, owner, state, request, result, error, num_starts, created, started, ended, has_files, is_announced"
)
_UNFINISHED = "state IN ('queued', 'running')"
_OVER = "state IN ('done', 'failed', 'cancelled')"


class JobStoreError(LatentSyncError):
    """The jobs cannot be read or written, such as on a full disk."""


@dataclass(frozen=True)
class JobRecord:
    """A job on disk.

    Attributes:
        id: name of its folder; cannot be guessed.
        kind: what is to be done; a queue has a handler for each kind that survives the process.
        owner: who may follow it; empty without access control.
        state: of the job.
        request: what was asked for, as JSON.
        result: what the work returned, as JSON; None for a job whose process keeps its result.
        error: one line if the job failed.
        num_starts: how often its work was started.
        created, started, ended: seconds since 1970; None: not yet.
        has_files: its folder has not been removed.
        is_announced: who waits for the end of the job has been told.
    """

    id: str
    kind: str
    owner: str
    state: JobState
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: str
    num_starts: int
    created: float
    started: float | None
    ended: float | None
    has_files: bool
    is_announced: bool


class JobStore:
    """All jobs of a folder. Methods may be called from any thread; after `close` they change nothing.

    Args:
        path: the database; created if it is missing.

    Raises:
        InputError: the file is damaged, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_closed = False
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.Error as error:
            self._connection.close()
            raise InputError(f"{path} cannot be used ({error}): name another --work_dir") from error
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise InputError(f"{self._path} was written by another version: name another --work_dir")
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", _TABLE):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._is_closed = True
            self._connection.close()

    def create(self, job_id: str, kind: str, owner: str = "") -> None:
        """Record a job whose files are about to be received."""
        self._write(
            "INSERT INTO jobs (id, kind, owner, state, created) VALUES (?, ?, ?, ?, ?)",
            *(job_id, kind, owner, JobState.RECEIVING.value, time.time()),
        )

    def enqueue(self, job_id: str, request: Mapping[str, Any]) -> bool:
        """Append a received job to the queue; return False if it is unknown or was appended before."""
        return self._write(
            "UPDATE jobs SET state = 'queued', request = ?,"
            " position = (SELECT COALESCE(MAX(position), 0) + 1 FROM jobs)"
            " WHERE id = ? AND state = 'receiving'",
            *(json.dumps(request), job_id),
        )

    def start(self, job_id: str) -> bool:
        """Record the start of the work; return False if the job does not wait."""
        return self._write(
            "UPDATE jobs SET state = 'running', started = ?, num_starts = num_starts + 1"
            " WHERE id = ? AND state = 'queued'",
            *(time.time(), job_id),
        )

    def interrupt(self, job_id: str) -> bool:
        """Put a running job back to its place in the queue, because its program is being stopped."""
        return self._write(
            "UPDATE jobs SET state = 'queued', started = NULL, num_starts = num_starts - 1"
            " WHERE id = ? AND state = 'running'",
            job_id,
        )

    def recover(self, job_id: str) -> bool:
        """Put a job back to its place in the queue, whose program was killed; the start still counts."""
        return self._write(
            "UPDATE jobs SET state = 'queued', started = NULL WHERE id = ? AND state = 'running'", job_id
        )

    def end(self, job_id: str, state: JobState, result: Mapping[str, Any] | None = None, error: str = "") -> bool:
        """Record the end of a job; return False if it has ended before."""
        assert state.is_over
        return self._write(
            f"UPDATE jobs SET state = ?, result = ?, error = ?, ended = ? WHERE id = ? AND NOT {_OVER}",
            *(state.value, None if result is None else json.dumps(result), error, time.time(), job_id),
        )

    def files_removed(self, job_id: str) -> bool:
        """Record that the folder of an ended job was removed."""
        return self._write(f"UPDATE jobs SET has_files = 0 WHERE id = ? AND {_OVER}", job_id)

    def announced(self, job_id: str) -> bool:
        """Record that who waits for the end of a job was told."""
        return self._write("UPDATE jobs SET is_announced = 1 WHERE id = ?", job_id)

    def forget(self, job_id: str) -> bool:
        """Remove the record of a job that has no folder."""
        return self._write("DELETE FROM jobs WHERE id = ?", job_id)

    def forget_before(self, time_s: float) -> bool:
        """Remove the records of jobs that ended before a time and have no folder."""
        return self._write(f"DELETE FROM jobs WHERE {_OVER} AND has_files = 0 AND ended < ?", time_s)

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job, or None if it is unknown."""
        found = self._records("WHERE id = ?", job_id)
        return found[0] if found else None

    def received(self) -> list[JobRecord]:
        """Return the jobs whose files are being received."""
        return self._records("WHERE state = 'receiving'")

    def unfinished(self) -> list[JobRecord]:
        """Return the running job and the waiting ones, in the order of the queue."""
        return self._records(f"WHERE {_UNFINISHED} ORDER BY position")

    def with_files(self) -> list[JobRecord]:
        """Return the ended jobs that have a folder, the oldest first."""
        return self._records(f"WHERE {_OVER} AND has_files = 1 ORDER BY ended")

    def unannounced(self) -> list[JobRecord]:
        """Return the ended jobs whose end was not announced, the oldest first."""
        return self._records(f"WHERE {_OVER} AND is_announced = 0 ORDER BY ended")

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs by state."""
        return {JobState(state): n for state, n in self._rows("SELECT state, COUNT(*) FROM jobs GROUP BY state")}

    def num_unfinished(self, owner: str) -> int:
        """Return the number of an owner's jobs that wait, run, or are being received."""
        return self._rows(f"SELECT COUNT(*) FROM jobs WHERE owner = ? AND NOT {_OVER}", owner)[0][0]

    def num_created(self, owner: str, since: float) -> int:
        """Return the number of an owner's jobs since a time in seconds since 1970."""
        return self._rows("SELECT COUNT(*) FROM jobs WHERE owner = ? AND created >= ?", owner, since)[0][0]

    def _records(self, condition: str, *values: object) -> list[JobRecord]:
        return [_record(row) for row in self._rows(f"SELECT {_COLUMNS} FROM jobs {condition}", *values)]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._is_closed:
                raise JobStoreError("the program is being stopped: try again later")
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise JobStoreError(f"{self._path} cannot be read ({error})") from error

    def _write(self, statement: str, *values: object) -> bool:
        """Run a statement; return True if it changed a job."""
        with self._lock:
            if self._is_closed:  # another process may own the file by now
                return False
            try:
                return self._connection.execute(statement, values).rowcount > 0
            except sqlite3.Error as error:
                raise JobStoreError(f"{self._path} cannot be written ({error}): free space, or try later") from error


def _record(row: tuple[Any, ...]) -> JobRecord:
    job_id, kind, owner, state, request, result, error, num_starts, created, started, ended, files, announced = row
    return JobRecord(
        job_id, kind, owner, JobState(state), json.loads(request), None if result is None else json.loads(result),
        error, num_starts, created, started, ended, bool(files), bool(announced),
    )  # fmt: skip
