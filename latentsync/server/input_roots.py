"""Inputs by their path on the server: only regular files below allowed folders."""

import os
import shutil
import stat
from pathlib import Path

from latentsync.errors import InputError
from latentsync.server.api_error import ApiError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | _NO_LINK | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class InputRoots:
    """Folders whose files may be named in requests.

    Args:
        roots: existing folders.

    Raises:
        InputError: a root is no folder, or this system cannot open files without following links.
    """

    def __init__(self, roots: tuple[Path, ...] = ()) -> None:
        for root in roots:
            if not root.is_dir():
                raise InputError(f"{root} is not a folder: name another --input_root")
        if roots and (os.open not in os.supports_dir_fd or not _NO_LINK):
            raise InputError("this system cannot open files without following links: omit --input_root")
        self._roots = tuple(root.resolve() for root in roots)

    def copy(self, field: str, path: str, target: Path, max_bytes: int) -> None:
        """Copy a file into the folder of a job, so that later changes do not matter.

        Links are resolved first; what they lead to must be below a root. Then every part of the path is opened without
        following links, so that one that is put there meanwhile leads nowhere else.

        Args:
            field: name of the field, for the message.
            path: an absolute path, or one relative to a root.
            target: file to write.
            max_bytes: maximum size.

        Raises:
            ApiError: 404 for anything but a file below a root, whether or not it exists.
            InputError: the file is too large.
        """
        descriptor = self._open(path)
        if descriptor is None:
            raise ApiError(404, f"{field} is not a file below an --input_root of this server")
        with open(descriptor, "rb") as source, target.open("xb") as copied:
            if os.fstat(source.fileno()).st_size > max_bytes:
                raise InputError(f"{field} has more than {max_bytes >> 20} MB, the maximum")
            shutil.copyfileobj(source, copied, 1 << 20)

    def _open(self, path: str) -> int | None:
        for root in self._roots:
            try:
                parts = (root / path).resolve(strict=True).relative_to(root).parts
                descriptor = _open_without_links(root, parts)
            except (OSError, ValueError, RuntimeError):
                continue
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
        return None


def _open_without_links(root: Path, parts: tuple[str, ...]) -> int:
    folder = os.open(root, _FOLDER)
    try:
        for name in parts[:-1]:
            below = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=folder)
    finally:
        os.close(folder)
