"""The output folder: who may write to it, where workers work, and where clips find their place."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.storage.owned_folder import check_ownership, check_unlocked, claim_folder, locked
from latentsync.storage.temporary_files import remove_leftovers, temporary_folder
from preprocess.clip import Clip, JsonValue
from preprocess.keys import output_key
from preprocess.manifest import is_manifest
from preprocess.raw_clips import KEY_CHARS_IN_NAMES, is_content_keys, keys_path
from preprocess.records import Product
from preprocess.verdict import Output

PROGRAM = "data pipeline"
LOG_FOLDER = "logs"
LOG_NAME = re.compile(r"[1-9]_[a-z]+_\d+\.txt")
"""Of a worker's log, as the local executor gives it: step number, step name, number of the worker."""
LOG_SUBFOLDER = re.compile(r"(actor|worker)_\d+")
"""Of a cluster's actor in the log folder, and of a worker in that."""

_REMEDY = "choose another --output_dir"
_FANOUT_CHARS = 2


class Workspace:
    """An output folder that this process alone writes to; `open_workspace` makes one.

    Attributes:
        root: the output folder, absolute.

    Args:
        work: a folder on the same file system, for what is being made.
    """

    def __init__(self, root: Path, work: Path) -> None:
        self.root = root
        self._work = work

    @property
    def logs(self) -> Path:
        """The folder for what workers print."""
        return self.root / LOG_FOLDER

    def work(self, record_key: str) -> Path:
        """The folder in which a worker may work on a record; nobody has made it yet."""
        return self._work / record_key

    def clear_work(self, record_key: str) -> None:
        """Removes what was left of the work on a record."""
        shutil.rmtree(self.work(record_key), ignore_errors=True)

    def place(
        self, folder: str | None, clip: Clip, record_key: str, outputs: tuple[Output, ...]
    ) -> tuple[Product, ...]:
        """Puts a step's outputs where they belong, each by rename; placing the same again changes nothing."""
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
            beside = self.root / folder / clip.source[:_FANOUT_CHARS]
            beside.mkdir(parents=True, exist_ok=True)
            stem = f"{name}-{key[:KEY_CHARS_IN_NAMES]}"
            path = beside / f"{stem}{suffix}"
            for sidecar, file in output.sidecars.items():
                facts[sidecar] = str(beside / f"{stem}.{sidecar}{file.suffix}")
                os.replace(file, str(facts[sidecar]))
            if output.file is None:
                self._link(clip.path, path)
            else:
                os.replace(output.file, path)
        moved = Clip(key, clip.source, name, path, facts)
        return Product(moved, path.stat().st_size, tuple(output.sidecars))

    def _link(self, source: Path, target: Path) -> None:
        """The same file under a second name, or a copy where the file system has no hard links."""
        beside = self._work / f"link-{uuid.uuid4().hex[:12]}"
        try:
            os.link(source.resolve(), beside)
        except OSError:
            shutil.copyfile(source, beside)
        os.replace(beside, target)
        beside.unlink(missing_ok=True)  # a rename onto another link of the same file leaves both


def check_output(root: Path) -> None:
    """Looks whether `open_workspace` can use a folder; writes nothing.

    Raises:
        InputError: it holds what the pipeline did not make, another run uses it, or it cannot be written to.
    """
    check_ownership(root, PROGRAM, _REMEDY, is_of_older_version)
    check_unlocked(root, f"wait for it, or {_REMEDY}")


@contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """The output folder, made if need be, for this process alone; what a killed run left half done is removed.

    Nothing else in the folder is removed but the log files of the last run, by the names that workers give them.

    Raises:
        InputError: the folder holds what the pipeline did not make, another run uses it, or it cannot be written to.
    """
    root = Path(os.path.abspath(root))
    claim_folder(root, PROGRAM, _REMEDY, is_of_older_version)
    with locked(root, f"wait for it, or {_REMEDY}"):
        remove_leftovers(root)
        _remove_logs(root / LOG_FOLDER)
        with temporary_folder(root, _REMEDY) as work:
            yield Workspace(root, work)


def is_of_older_version(root: Path) -> bool:
    """Whether a folder without a marker holds manifests or content keys as the pipeline has always written them."""
    return any(is_manifest(path) for path in (root / "manifest").glob("[1-9]_*.sqlite")) or is_content_keys(
        keys_path(root)
    )


def _remove_logs(folder: Path) -> None:
    """Removes log files and the folders that a cluster's workers put them into; whatever has another name stays."""
    if folder.is_symlink():
        return
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds comes before it
        with suppress(OSError):
            if path.is_symlink():
                continue
            if path.is_file() and LOG_NAME.fullmatch(path.name):
                path.unlink()
            elif path.is_dir() and LOG_SUBFOLDER.fullmatch(path.name):
                path.rmdir()  # refused by the system unless it is empty
