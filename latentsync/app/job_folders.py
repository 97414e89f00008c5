"""The folders that jobs and uploads live in: made with names nobody can guess, removed when they are old."""

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

from latentsync.atomic import written_whole
from latentsync.errors import InputError

logger = logging.getLogger(__name__)

_ID_BYTES = 16
_SECONDS_PER_HOUR = 3600.0
_LONGEST_PAUSE_S = 900.0


def default_work_dir() -> Path:
    """A folder of this user in the system's temporary one."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"latentsync-app-{user}"


class JobFolders:
    """Everything the app keeps, under one root: ``jobs/<id>``, ``example``, and what visitors upload beside them.

    A context manager: a thread removes what is older than `keep_hours`.

    Args:
        root: made where it is missing, for this user alone.
        keep_hours: age at which folders go, counted from their newest file.

    Raises:
        InputError: the root is somebody else's, or cannot be made.
    """

    def __init__(self, root: Path, keep_hours: float = 24.0) -> None:
        if not 0 < keep_hours < float("inf"):
            raise InputError(f"keep_hours is {keep_hours}: it must be positive")
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_ours = not root.is_symlink() and (not hasattr(os, "getuid") or root.stat().st_uid == os.getuid())
            (root / "jobs").mkdir(exist_ok=True)
            (root / "example").mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot use {root} for jobs: {error.strerror}; name another --work_dir") from error
        if not is_ours:
            raise InputError(f"{root} belongs to somebody else: name another --work_dir")
        self.root = root.resolve()
        self.keep_seconds = keep_hours * _SECONDS_PER_HOUR
        self._in_use: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sweep_for_ever, name="latentsync-sweeper", daemon=True)

    @property
    def jobs(self) -> Path:
        """The folder of the jobs' folders."""
        return self.root / "jobs"

    @property
    def example(self) -> Path:
        """The folder of the example's files; it stays."""
        return self.root / "example"

    def __enter__(self) -> "JobFolders":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def new(self) -> Path:
        """An empty folder for one job; it is not swept before `release`."""
        folder = self.jobs / secrets.token_hex(_ID_BYTES)
        with self._lock:
            self._in_use.add(folder)
        folder.mkdir(mode=0o700)
        return folder

    def release(self, folder: Path) -> None:
        """From now on the folder goes when it is old."""
        with self._lock:
            self._in_use.discard(folder)

    def remove(self, folder: Path) -> None:
        """Removes a job's folder now."""
        shutil.rmtree(folder, ignore_errors=True)
        self.release(folder)

    def adopt(self, upload: Path, folder: Path, stem: str) -> Path:
        """Puts an upload into a job's folder (a hard link, or a copy) as `stem` with the upload's suffix."""
        suffix = "".join(c for c in upload.suffix.lower()[:10] if c.isascii() and (c.isalnum() or c == "."))
        path = folder / f"{stem}{suffix}"
        try:
            os.link(upload, path)
        except OSError:
            shutil.copyfile(upload, path)
        return path

    def place_example(self, original: Path) -> Path:
        """A copy of a bundled file in the one folder that pages may read."""
        copy = self.example / original.name
        with written_whole(copy) as beside:
            shutil.copyfile(original, beside)
        return copy

    def sweep(self, now: float | None = None) -> int:
        """Removes what is older than allowed; gives how many folders went."""
        before = (time.time() if now is None else now) - self.keep_seconds
        with self._lock:
            in_use = set(self._in_use)
        num_removed = 0
        uploads = [path for path in self.root.iterdir() if path not in (self.jobs, self.example)]
        for folder in [*self.jobs.iterdir(), *uploads]:
            if folder not in in_use and newest_change(folder) < before:
                logger.info("removing %s, which is old", folder)
                shutil.rmtree(folder, ignore_errors=True) if folder.is_dir() else folder.unlink(missing_ok=True)
                num_removed += 1
        return num_removed

    def _sweep_for_ever(self) -> None:
        while True:
            try:
                self.sweep()
            except OSError as error:
                logger.warning("old jobs could not be removed: %s", error)
            if self._stopped.wait(min(self.keep_seconds / 4, _LONGEST_PAUSE_S)):
                return


def newest_change(folder: Path) -> float:
    """When the folder, or anything in it, changed last, in seconds since 1970."""
    times = [0.0]
    for path in [folder, *folder.rglob("*")]:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        times.append(max(status.st_mtime, status.st_ctime))
    return max(times)
