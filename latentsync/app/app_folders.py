"""The folder of the app: its jobs, and the uploads of visitors.

Visitors can read uploads and the copies of results beside them, and nothing else. Old uploads with the names that
gradio generates are removed, and no others.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from latentsync.errors import InputError
from latentsync.jobs.folders import JobFolders, stored_name
from latentsync.storage.atomic import atomic_write

logger = logging.getLogger(__name__)

APP_FOLDER = "latentsync-app"

_UPLOADED = re.compile(r"[0-9a-f]{64}")
"""gradio stores an upload in a folder named by the hash of its content."""
_UPLOADING = re.compile(r"tmp[a-z0-9_]{8}")
"""Name of an unfinished upload."""


def default_work_dir() -> Path:
    """Return a folder of this user in the system's temporary folder."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"latentsync-app-{user}"


class AppFolders(JobFolders):
    """All files of the app: its jobs, and ``uploads``, which are removed `keep_hours` after their newest change.

    Args:
        work_dir, keep_hours: see `JobFolders`.
    """

    def __init__(self, work_dir: Path, keep_hours: float = 24.0) -> None:
        super().__init__(work_dir, keep_hours, program="app")

    @property
    def uploads(self) -> Path:
        """Folder in which gradio stores uploads and copies of the files that visitors may read."""
        return self.root / "uploads"

    @staticmethod
    def adopted_path(upload: Path, folder: Path, stem: str) -> Path:
        """Return the path of an upload in a job's folder: `stem` with the suffix of the upload."""
        return folder / stored_name(stem, upload.name)

    def adopt(self, upload: Path, folder: Path, stem: str) -> Path:
        """Link or copy an upload to its `adopted_path` in a job's folder, unless an earlier process has done it.

        Raises:
            InputError: the path is not an upload, or the upload was removed.
            OSError: the file cannot be copied.
        """
        path = self.adopted_path(upload, folder, stem)
        if path.is_file():
            return path
        if not self.may_be_read(upload):
            raise InputError(f"{upload} is not among the uploads: upload it again")
        try:
            os.link(upload, path)
        except OSError:
            with atomic_write(path) as beside:
                shutil.copyfile(upload, beside)
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
        old = [path for path in self._uploaded() if is_older(path, before)]
        for path in old:
            logger.info("removing old %s", path)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return super().sweep(now) + len(old)

    def _open(self) -> None:
        super()._open()
        self.uploads.mkdir(mode=0o700, exist_ok=True)

    def _uploaded(self) -> Iterator[Path]:
        for entry in os.scandir(self.uploads):
            is_folder = entry.is_dir(follow_symlinks=False)
            is_file = entry.is_file(follow_symlinks=False)
            if (is_folder and _UPLOADED.fullmatch(entry.name)) or (is_file and _UPLOADING.fullmatch(entry.name)):
                yield Path(entry.path)


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
