"""Atomic writing: one file, or several files together, appear complete or not at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.temporary_files import temporary_path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` on success, remove it on error.

    The temporary file lies beside ``path``, so that the rename stays within one file system. Its name is hidden, keeps
    the suffix and is unique, so that concurrent runs in one folder do not collide.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


class StagedFiles:
    """Temporary files beside their targets, renamed to the targets together.

    A context manager. It creates missing folders on entry. On exit it renames every temporary file that was written;
    if one rename fails, the earlier ones are undone. After an error in the block, no file and no new folder remains.

    Args:
        targets: final paths, in the order in which they are renamed.
    """

    def __init__(self, targets: Sequence[Path]) -> None:
        self._targets = targets
        self._staged: dict[Path, Path] = {}
        self._cleanup = ExitStack()

    def path_of(self, target: Path) -> Path:
        """Return the temporary path to write the content of a target to."""
        return self._staged[target]

    def __enter__(self) -> "StagedFiles":
        with ExitStack() as stack:
            for target in self._targets:
                stack.enter_context(_created_folders(target.absolute().parent))
                self._staged[target] = temporary_path(target)
                stack.callback(_remove, self._staged[target])
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        with self._cleanup as stack:
            if error is not None:
                stack.__exit__(kind, error, None)
                return
            _publish([(self._staged[target], target) for target in self._targets if self._staged[target].exists()])


def _publish(renames: Sequence[tuple[Path, Path]]) -> None:
    """Rename files; if one rename fails, restore all previous files."""
    undo: list[tuple[Path, Path | None]] = []
    try:
        for staged, target in renames:
            backup = _hard_link(target)
            undo.append((target, backup))
            os.replace(staged, target)
    except BaseException as error:
        for target, backup in reversed(undo[:-1]):
            with suppress(OSError):  # the disk may have failed; the original error is raised below
                os.replace(backup, target) if backup is not None else target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{undo[-1][0]} cannot be written ({error.strerror}): name another output file") from error
        raise
    finally:
        for _, backup in undo:
            if backup is not None:
                _remove(backup)


def _remove(path: Path) -> None:
    """Remove a temporary file; if that fails, the original error is kept and a later run removes it (`sweep_once`)."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _hard_link(path: Path) -> Path | None:
    """Link a file to a temporary name; None if it does not exist or the file system has no hard links."""
    backup = temporary_path(path)
    try:
        os.link(path, backup, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return None
    return backup


@contextmanager
def _created_folders(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; after an error, remove those created here if they are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
