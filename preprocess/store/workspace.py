"""The output folder: ownership and lock, work folders of the workers, and final places of the clips."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.storage.owned_folder import check_ownership, check_unlocked, claim_folder, locked
from latentsync.storage.temporary_files import remove_leftovers, temporary_folder
from preprocess.step import Clip, JsonValue, Output
from preprocess.store.content_keys import is_content_keys, keys_path
from preprocess.store.keys import KEY_CHARS_IN_NAMES, output_key
from preprocess.store.manifest import is_manifest
from preprocess.store.records import Product

PROGRAM = "data pipeline"
LOG_FOLDER = "logs"
LOG_NAME = re.compile(r"[1-9]_[a-z]+_\d+\.txt")
"""Name of a worker's log, as the local executor writes it: step number, step name, number of the worker."""
LOG_SUBFOLDER = re.compile(r"(actor|worker)_\d+")
"""Name of the log folder of a Ray actor, and of its subfolder for a worker."""

_REMEDY = "choose another --output_dir"
_FANOUT_CHARS = 2


class Workspace:
    """An output folder, locked for this process; created by `open_workspace`.

    Args:
        root: the output folder, absolute.
        work: temporary folder on the same file system, for unfinished files.
    """

    def __init__(self, root: Path, work: Path) -> None:
        self.root = root
        self._work = work

    @property
    def logs(self) -> Path:
        """Folder of the workers' logs."""
        return self.root / LOG_FOLDER

    def work(self, record_key: str) -> Path:
        """Return the work folder for a record; the worker creates it."""
        return self._work / record_key

    def clear_work(self, record_key: str) -> None:
        """Remove the work folder of a record."""
        shutil.rmtree(self.work(record_key), ignore_errors=True)

    def place(
        self, folder: str | None, clip: Clip, record_key: str, outputs: tuple[Output, ...]
    ) -> tuple[Product, ...]:
        """Move the outputs of a step to their final places by renaming; doing it twice changes nothing."""
        return tuple(
            self._place(folder, clip, output_key(record_key, index), output) for index, output in enumerate(outputs)
        )

    def _place(self, folder: str | None, clip: Clip, key: str, output: Output) -> Product:
        name = clip.name + output.suffix
        facts: dict[str, JsonValue] = {**clip.facts, **output.facts}
        if folder is None:
            path = clip.path
        else:
            suffix = (output.file or clip.path).suffix
            destination = self.root / folder / clip.source[:_FANOUT_CHARS]
            destination.mkdir(parents=True, exist_ok=True)
            stem = f"{name}-{key[:KEY_CHARS_IN_NAMES]}"
            path = destination / f"{stem}{suffix}"
            for sidecar, file in output.sidecars.items():
                facts[sidecar] = str(destination / f"{stem}.{sidecar}{file.suffix}")
                os.replace(file, str(facts[sidecar]))
            if output.file is None:
                self._link(clip.path, path)
            else:
                os.replace(output.file, path)
        moved = Clip(key, clip.source, name, path, facts)
        return Product(moved, path.stat().st_size, tuple(output.sidecars))

    def _link(self, source: Path, target: Path) -> None:
        """Create a hard link, or a copy if the file system has no hard links."""
        link = self._work / f"link-{uuid.uuid4().hex[:12]}"
        try:
            os.link(source.resolve(), link)
        except OSError:
            shutil.copyfile(source, link)
        os.replace(link, target)
        link.unlink(missing_ok=True)  # renaming onto another link of the same file keeps both names


def check_output(root: Path) -> None:
    """Check that `open_workspace` can use a folder; nothing is written.

    Raises:
        InputError: it contains files of another origin, another run uses it, or it cannot be written.
    """
    check_ownership(root, PROGRAM, _REMEDY, is_of_older_version)
    check_unlocked(root, f"wait for it, or {_REMEDY}")


@contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """Create and lock the output folder; remove unfinished files of a killed run.

    Nothing else is removed except the logs of the last run, which are recognised by their names.

    Raises:
        InputError: the folder contains files of another origin, another run uses it, or it cannot be written.
    """
    root = Path(os.path.abspath(root))
    claim_folder(root, PROGRAM, _REMEDY, is_of_older_version)
    with locked(root, f"wait for it, or {_REMEDY}"):
        remove_leftovers(root)
        _remove_logs(root / LOG_FOLDER)
        with temporary_folder(root, _REMEDY) as work:
            yield Workspace(root, work)


def is_of_older_version(root: Path) -> bool:
    """Return True if a folder without a marker has manifests or content keys, as all versions have written them."""
    return any(is_manifest(path) for path in (root / "manifest").glob("[1-9]_*.sqlite")) or is_content_keys(
        keys_path(root)
    )


def _remove_logs(folder: Path) -> None:
    """Remove log files and the log folders of Ray actors; anything with another name is kept."""
    if folder.is_symlink():
        return
    for path in sorted(folder.rglob("*"), reverse=True):  # content before its folder
        with suppress(OSError):
            if path.is_symlink():
                continue
            if path.is_file() and LOG_NAME.fullmatch(path.name):
                path.unlink()
            elif path.is_dir() and LOG_SUBFOLDER.fullmatch(path.name):
                path.rmdir()  # fails unless it is empty
