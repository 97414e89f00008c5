"""The folder of a program below its `--work_dir`: job folders with unguessable names, and the record of all jobs.

The work folder may contain other files: the program creates one marked subfolder and changes nothing outside it. There
it removes only the folders of jobs that it recorded, once they have ended and are too old, or take too much space.
"""

import logging
import math
import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from latentsync.errors import InputError
from latentsync.jobs.job import PAGE
from latentsync.jobs.store import JobStore, JobStoreError
from latentsync.storage.owned_folder import LOCK, check_ownership, claim_folder, locked

logger = logging.getLogger(__name__)

JOB_DATABASE = "jobs.sqlite"

Folders = TypeVar("Folders", bound="JobFolders")

_REMEDY = "name another --work_dir"
_ID_BYTES = 16
_JOB = re.compile(r"[0-9a-f]{32}")
_SECONDS_PER_HOUR = 3600.0
_MAX_SWEEP_INTERVAL_S = 900.0
_RECORDS_KEPT_S = 30 * 24 * _SECONDS_PER_HOUR
"""Records of ended jobs are kept for this time, so that who asks learns that the files have expired."""


class JobFolders:
    """All files of a program: ``WORK_DIR/latentsync-PROGRAM`` with ``jobs/<id>`` and the database of jobs.

    A context manager. Nothing is written before its block starts; inside the block this process holds the lock of the
    folder, and a thread removes old jobs.

    Args:
        work_dir: any folder of the user; created if it is missing.
        keep_hours: age at which ended jobs are removed.
        keep_bytes: size of all ended jobs above which the oldest ones are removed.
        program: name of the owner of the folder.

    Raises:
        InputError: keep_hours or keep_bytes is out of range, or the folder belongs to another user or is not writable.
    """

    def __init__(self, work_dir: Path, keep_hours: float, keep_bytes: float = math.inf, program: str = "app") -> None:
        if not 0 < keep_hours < math.inf:
            raise InputError(f"keep_hours is {keep_hours}: it must be positive")
        if not keep_bytes > 0:
            raise InputError(f"keep_gb is {keep_bytes / 1e9:g}: it must be positive")
        self.root = work_dir.absolute() / f"latentsync-{program}"
        self.keep_seconds = keep_hours * _SECONDS_PER_HOUR
        self.keep_bytes = keep_bytes
        self._program = program
        self._check()
        self._store: JobStore | None = None
        self._stopped = threading.Event()
        self._held = ExitStack()

    @property
    def jobs(self) -> Path:
        """Folder of the job folders."""
        return self.root / "jobs"

    @property
    def store(self) -> JobStore:
        """Record of all jobs."""
        assert self._store is not None, "the block has not started"
        return self._store

    def check_unused(self) -> None:
        """Check that no other process is using the folder.

        Raises:
            InputError: another process holds its lock.
        """
        if (self.root / LOCK).exists():
            with self._locked():
                pass

    def __enter__(self: Folders) -> Folders:
        self._check()
        try:
            self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
            claim_folder(self.root, self._program, _REMEDY)
            self._held.enter_context(self._locked())
            self.root = self.root.resolve()
            self._open()
        except OSError as error:
            self._held.close()
            raise InputError(f"cannot use {self.root} for jobs ({error.strerror}): {_REMEDY}") from error
        except BaseException:
            self._held.close()
            raise
        sweeper = threading.Thread(target=self._sweep_until_stopped, name="latentsync-sweeper", daemon=True)
        sweeper.start()
        self._held.callback(sweeper.join)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._held.close()

    def new(self, kind: str = PAGE, owner: str = "") -> Path:
        """Create an empty folder for one job, which is recorded first; its name is the id of the job.

        Raises:
            OSError: the folder cannot be created.
            JobStoreError: the job cannot be recorded.
        """
        name = secrets.token_hex(_ID_BYTES)
        self.store.create(name, kind, owner)
        try:
            self.of(name).mkdir(mode=0o700)
        except OSError:
            with suppress(JobStoreError):
                self.store.forget(name)
            raise
        return self.of(name)

    def of(self, job_id: str) -> Path:
        """Return the folder of a recorded job."""
        return self.jobs / job_id

    def remove(self, folder: Path) -> None:
        """Remove the folder of an ended job; if that fails, a later sweep tries again."""
        if self._is_removed(folder):
            self._try(self.store.files_removed, folder.name)

    def discard(self, folder: Path) -> None:
        """Remove the folder and the record of a job that was refused."""
        if self._is_removed(folder):
            self._try(self.store.forget, folder.name)

    def sweep(self, now: float | None = None) -> int:
        """Remove ended jobs that are too old or take too much space; return their number."""
        now = time.time() if now is None else now
        ended = self.store.with_files()
        old = [record for record in ended if record.ended is None or record.ended < now - self.keep_seconds]
        kept = [record for record in ended if record not in old]
        if self.keep_bytes < math.inf:
            sizes = [size_of(self.of(record.id)) for record in kept]
            while sum(sizes) > self.keep_bytes:
                old.append(kept.pop(0))
                sizes.pop(0)
        for record in old:
            logger.info("removing the files of job %s", record.id)
            self.remove(self.of(record.id))
        self.store.forget_before(now - max(self.keep_seconds, _RECORDS_KEPT_S))
        return len(old)

    def _open(self) -> None:
        """Open the database; remove what a killed process was receiving."""
        self.jobs.mkdir(mode=0o700, exist_ok=True)
        self._store = JobStore(self.root / JOB_DATABASE)
        self._held.callback(self._store.close)
        for record in self._store.received():
            self.discard(self.of(record.id))

    def _is_removed(self, folder: Path) -> bool:
        if folder.parent != self.jobs or not _JOB.fullmatch(folder.name):  # such as from a damaged database
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not os.path.lexists(folder)

    def _try(self, change: Callable[[str], bool], job_id: str) -> None:
        """Record a removal; after an error, the next sweep or start does it."""
        try:
            change(job_id)
        except JobStoreError as error:
            logger.warning("a removal was not recorded: %s", error)

    def _check(self) -> None:
        """Raise InputError if the folder belongs, or could come to belong, to another user; write nothing."""
        check_ownership(self.root, self._program, _REMEDY)
        folders = [self.root]
        if _is_world_writable(self.root.parent.parent):
            folders.append(self.root.parent)
        for folder in folders:
            if os.path.lexists(folder) and (folder.is_symlink() or not _is_own(folder)):
                raise InputError(f"{folder} belongs to another user: {_REMEDY}")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.root, f"stop that program, or {_REMEDY}")

    def _sweep_until_stopped(self) -> None:
        while True:
            try:
                self.sweep()
            except (OSError, JobStoreError) as error:
                logger.warning("old jobs could not be removed: %s", error)
            if self._stopped.wait(min(self.keep_seconds / 4, _MAX_SWEEP_INTERVAL_S)):
                return


def stored_name(stem: str, given: str) -> str:
    """Return the name of a file in a job's folder: `stem` with the suffix of the given name."""
    suffix = os.path.splitext(given)[1].lower()[:10]
    return stem + "".join(c for c in suffix if c.isascii() and (c.isalnum() or c == "."))


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _is_world_writable(folder: Path) -> bool:
    """Return True if any user may create folders there, as in ``/tmp``."""
    return hasattr(os, "getuid") and folder.is_dir() and bool(folder.stat().st_mode & stat.S_IWOTH)
