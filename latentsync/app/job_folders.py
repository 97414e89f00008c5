"""The folder of the app below `--work_dir`: job folders with unguessable names, and uploads; old ones are removed.

The work folder may contain other files: the app creates one marked subfolder and changes nothing outside it. There it
removes only its own entries: jobs recorded in its list, and uploads with the names that gradio generates. Visitors can
read uploads and the copies of results beside them, and nothing else.
"""

import json
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import LOCK, check_ownership, claim_folder, locked

logger = logging.getLogger(__name__)

APP_FOLDER = "latentsync-app"
JOB_LIST = "jobs.json"

_PROGRAM = "app"
_REMEDY = "name another --work_dir"
_ID_BYTES = 16
_JOB = re.compile(r"[0-9a-f]{32}")
_UPLOADED = re.compile(r"[0-9a-f]{64}")
"""gradio stores an upload in a folder named by the hash of its content."""
_UPLOADING = re.compile(r"tmp[a-z0-9_]{8}")
"""Name of an unfinished upload."""
_SECONDS_PER_HOUR = 3600.0
_MAX_SWEEP_INTERVAL_S = 900.0


def default_work_dir() -> Path:
    """Return a folder of this user in the system's temporary folder."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"latentsync-app-{user}"


class JobFolders:
    """All files of the app: ``WORK_DIR/latentsync-app`` with ``jobs/<id>``, the list of jobs, and ``uploads``.

    A context manager. Nothing is written before its block starts; inside the block this process holds the lock of the
    folder, and a thread removes entries older than `keep_hours`.

    Args:
        work_dir: any folder of the user; created if it is missing.
        keep_hours: age at which jobs and uploads are removed, counted from their newest file.

    Raises:
        InputError: keep_hours is out of range, or the folder belongs to another user or is not writable.
    """

    def __init__(self, work_dir: Path, keep_hours: float = 24.0) -> None:
        if not 0 < keep_hours < float("inf"):
            raise InputError(f"keep_hours is {keep_hours}: it must be positive")
        self.root = work_dir.absolute() / APP_FOLDER
        self.keep_seconds = keep_hours * _SECONDS_PER_HOUR
        self._check()
        self._names: set[str] = set()
        self._in_use: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._held = ExitStack()

    @property
    def jobs(self) -> Path:
        """Folder of the job folders."""
        return self.root / "jobs"

    @property
    def uploads(self) -> Path:
        """Folder in which gradio stores uploads and copies of the files that visitors may read."""
        return self.root / "uploads"

    def check_unused(self) -> None:
        """Check that no other app is using the folder.

        Raises:
            InputError: another app holds its lock.
        """
        if (self.root / LOCK).exists():
            with self._locked():
                pass

    def __enter__(self) -> "JobFolders":
        self._check()
        try:
            self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
            claim_folder(self.root, _PROGRAM, _REMEDY)
            self._held.enter_context(self._locked())
            self.root = self.root.resolve()
            for folder in (self.jobs, self.uploads):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            self._held.close()
            raise InputError(f"cannot use {self.root} for jobs ({error.strerror}): {_REMEDY}") from error
        self._names = self._read_list()
        sweeper = threading.Thread(target=self._sweep_until_stopped, name="latentsync-sweeper", daemon=True)
        sweeper.start()
        self._held.callback(sweeper.join)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._held.close()

    def new(self) -> Path:
        """Create an empty folder for one job, which is not swept before `release`.

        Raises:
            OSError: the folder cannot be created.
        """
        name = secrets.token_hex(_ID_BYTES)
        folder = self.jobs / name
        with self._lock:
            self._in_use.add(folder)
            self._names.add(name)
            try:
                self._write_list()  # first, so that every folder has an entry
                folder.mkdir(mode=0o700)
            except OSError:
                self._in_use.discard(folder)
                self._names.discard(name)
                raise
        return folder

    def release(self, folder: Path) -> None:
        """Allow the folder to be removed when it is old."""
        with self._lock:
            self._in_use.discard(folder)

    def remove(self, folder: Path) -> None:
        """Remove a job's folder; if that fails, a later sweep tries again."""
        shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._in_use.discard(folder)
            if folder.name in self._names and not os.path.lexists(folder):
                self._names.discard(folder.name)
                self._try_to_write_list()

    @staticmethod
    def adopted_path(upload: Path, folder: Path, stem: str) -> Path:
        """Return the path of an upload in a job's folder: `stem` with the suffix of the upload."""
        suffix = "".join(c for c in upload.suffix.lower()[:10] if c.isascii() and (c.isalnum() or c == "."))
        return folder / f"{stem}{suffix}"

    def adopt(self, upload: Path, folder: Path, stem: str) -> Path:
        """Link or copy an upload to its `adopted_path` in a job's folder.

        Raises:
            InputError: the path is not an upload, or the upload was removed.
            OSError: the file cannot be copied.
        """
        if not self.may_be_read(upload):
            raise InputError(f"{upload} is not among the uploads: upload it again")
        path = self.adopted_path(upload, folder, stem)
        try:
            os.link(upload, path)
        except OSError:
            shutil.copyfile(upload, path)
        return path

    def may_be_read(self, path: Path) -> bool:
        """Return True for uploads and copies of results beside them; links are resolved."""
        try:
            real = path.resolve(strict=True)
            parts = real.relative_to(self.uploads).parts
        except (OSError, ValueError, RuntimeError):
            return False
        return (
            path.is_absolute()
            and len(parts) == 2
            and _UPLOADED.fullmatch(parts[0]) is not None
            and not parts[1].startswith(".")
            and real.is_file()
        )

    def sweep(self, now: float | None = None) -> int:
        """Remove jobs and uploads that are too old; return their number."""
        before = (time.time() if now is None else now) - self.keep_seconds
        with self._lock:
            jobs = [self.jobs / name for name in self._names if self.jobs / name not in self._in_use]
        gone = [folder for folder in jobs if not os.path.lexists(folder)]
        old = [path for path in (*jobs, *self._uploaded()) if path not in gone and is_older(path, before)]
        for path in old:
            logger.info("removing old %s", path)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        names = {path.name for path in jobs if not os.path.lexists(path)}
        if names:
            with self._lock:
                self._names -= names
                self._try_to_write_list()
        return len(old)

    def _uploaded(self) -> Iterator[Path]:
        for entry in os.scandir(self.uploads):
            is_folder = entry.is_dir(follow_symlinks=False)
            is_file = entry.is_file(follow_symlinks=False)
            if (is_folder and _UPLOADED.fullmatch(entry.name)) or (is_file and _UPLOADING.fullmatch(entry.name)):
                yield Path(entry.path)

    def _check(self) -> None:
        """Raise InputError if the folder belongs, or could come to belong, to another user; write nothing."""
        check_ownership(self.root, _PROGRAM, _REMEDY)
        folders = [self.root]
        if _is_world_writable(self.root.parent.parent):
            folders.append(self.root.parent)
        for folder in folders:
            if os.path.lexists(folder) and (folder.is_symlink() or not _is_own(folder)):
                raise InputError(f"{folder} belongs to another user: {_REMEDY}")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.root, f"stop that app, or {_REMEDY}")

    def _read_list(self) -> set[str]:
        """Return the names of the jobs of earlier runs."""
        path = self.root / JOB_LIST
        try:
            names = json.loads(path.read_text(encoding="utf-8"))["jobs"]
            return {name for name in names if isinstance(name, str) and _JOB.fullmatch(name)}
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s cannot be read: the folders of earlier jobs in %s will not be removed", path, self.jobs)
            return set()

    def _write_list(self) -> None:
        if self._stopped.is_set():  # another process may own the folder by now
            return
        with atomic_write(self.root / JOB_LIST) as beside:
            beside.write_text(json.dumps({"jobs": sorted(self._names)}) + "\n", encoding="utf-8")

    def _try_to_write_list(self) -> None:
        """Write the list after a removal; after an error, the next sweep drops the surplus entry."""
        try:
            self._write_list()
        except OSError as error:
            logger.warning("the list of jobs could not be written: %s", error)

    def _sweep_until_stopped(self) -> None:
        while True:
            try:
                self.sweep()
            except OSError as error:
                logger.warning("old jobs could not be removed: %s", error)
            if self._stopped.wait(min(self.keep_seconds / 4, _MAX_SWEEP_INTERVAL_S)):
                return


def is_older(path: Path, seconds: float) -> bool:
    """Return True if a file or folder has not changed since a time in seconds since 1970; False if unknown."""
    try:
        for entry in [path, *path.rglob("*")]:
            status = entry.lstat()
            if max(status.st_mtime, status.st_ctime) >= seconds:
                return False
    except OSError:  # an entry was removed meanwhile, so the folder has changed
        return False
    return True


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _is_world_writable(folder: Path) -> bool:
    """Return True if any user may create folders there, as in ``/tmp``."""
    return hasattr(os, "getuid") and folder.is_dir() and bool(folder.stat().st_mode & stat.S_IWOTH)
