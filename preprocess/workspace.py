"""The output folder: who may write to it, where workers work, and where clips find their place."""

import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentsync.errors import InputError
from preprocess.clip import Clip, JsonValue
from preprocess.keys import output_key
from preprocess.raw_clips import KEY_CHARS_IN_NAMES
from preprocess.records import Product
from preprocess.verdict import Output

WORK_FOLDER = ".work"
LOG_FOLDER = "logs"
_FANOUT_CHARS = 2


class Workspace:
    """An output folder that this process alone writes to; `open_workspace` makes one.

    Attributes:
        root: the output folder, absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._work = root / WORK_FOLDER / uuid.uuid4().hex[:12]

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
        self._work.mkdir(parents=True, exist_ok=True)
        beside = self._work / f"link-{uuid.uuid4().hex[:12]}"
        try:
            os.link(source.resolve(), beside)
        except OSError:
            shutil.copyfile(source, beside)
        os.replace(beside, target)
        beside.unlink(missing_ok=True)  # a rename onto another link of the same file leaves both


@contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """The output folder, made if need be, for this process alone; what a killed run left half done is removed.

    Raises:
        InputError: another run uses the folder, or it cannot be written to.
    """
    root = Path(os.path.abspath(root))
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("a+")
    except OSError as error:
        raise InputError(f"{root} cannot be written to ({error.strerror}): choose another --output_dir") from error
    with lock:
        _take(lock.fileno(), root)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        shutil.rmtree(root / WORK_FOLDER, ignore_errors=True)
        shutil.rmtree(root / LOG_FOLDER, ignore_errors=True)
        try:
            yield Workspace(root)
        finally:
            shutil.rmtree(root / WORK_FOLDER, ignore_errors=True)


def _take(lock: int, root: Path) -> None:
    """Locks the file until it is closed; the system frees it when the process ends, however it ends."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another run"
        raise InputError(f"{root} is in use by {owner}: wait for it, or choose another --output_dir") from error
    except OSError as error:
        raise InputError(f"{root} cannot be locked ({error.strerror}): choose another --output_dir") from error
