"""The files that one run writes: known and checked before any work, and there together in the end or not at all.

The user names the video and it is replaced, as with any encoder. The files beside it get their names from us, so one
that is there already is replaced only if it says of itself that we made it.
"""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from latentsync.errors import InputError, LatentSyncError
from latentsync.media.probe import probe_streams
from latentsync.media.writer import COPIED_CODECS, MADE_BY
from latentsync.pipelines.video_maker import is_record
from latentsync.storage.output_file import check_no_inputs
from latentsync.storage.temporary_files import temporary_path

RECORD_SUFFIX = ".lipsync.json"
"""Added to the name of a list's result: the record of its making."""

_LONGEST_NAME = 255
_REMEDY = "choose another --video_out_path"


@dataclass(frozen=True)
class OutputFiles:
    """What one run writes.

    Attributes:
        video: the result, as the user named it.
        sheet: the contact sheet.
        comparison: source and result side by side, where it was asked for.
        record: of a list's job.
    """

    video: Path
    sheet: Path
    comparison: Path | None = None
    record: Path | None = None

    @classmethod
    def of(cls, video: Path, compare: bool, with_record: bool = False) -> "OutputFiles":
        """The files of a result.

        Raises:
            InputError: the name is none of a video that can be written.
        """
        if "\0" in str(video):
            raise InputError(f"the output {str(video)!r} is no name of a file: {_REMEDY}")
        if video.name in ("", "..") or os.path.isdir(video):
            raise InputError(f"the output {video} is a folder: name a file such as {video / 'video_out.mp4'}")
        if video.suffix.lower() not in COPIED_CODECS:
            raise InputError(f"{video} cannot be written: name an output that ends in .mp4, .mov or .mkv")
        return cls(
            video,
            video.with_name(f"{video.stem}_sheet.png"),
            video.with_name(f"{video.stem}_compare{video.suffix}") if compare else None,
            video.with_name(video.name + RECORD_SUFFIX) if with_record else None,
        )

    def beside(self) -> list[Path]:
        """The files whose names are ours."""
        return [path for path in (self.sheet, self.comparison, self.record) if path is not None]

    def all(self) -> list[Path]:
        """All of them."""
        return [self.video, *self.beside()]

    def check(self, inputs: Iterable[Path]) -> None:
        """Looks at everything that can be known before the work; leaves nothing behind.

        Args:
            inputs: the files that the run reads.

        Raises:
            InputError: a file is an input, a folder, somebody else's, or in a place that cannot be written.
        """
        try:
            _check_folder(self.video)
            for path in self.all():
                _check_place(path)
            check_no_inputs(self.all(), inputs, "--video_out_path")
            for path in self.beside():
                if os.path.lexists(path) and not _is_ours(path):
                    raise InputError(f"{path} is there already, and it is not ours to replace: move it, or {_REMEDY}")
        except OSError as error:
            raise InputError(f"cannot write to {self.video}: {error.strerror}; {_REMEDY}") from error


def check_together(all_outputs: Sequence[OutputFiles], inputs: Iterable[Path], where: str) -> None:
    """Looks whether the jobs of a list leave each other's files alone.

    Args:
        all_outputs: of each job.
        inputs: of all jobs.
        where: the list, for the message.

    Raises:
        InputError: two jobs write to one file, or one writes over a file that another reads.
    """
    read = {_resolved(path) for path in inputs}
    written: dict[Path, Path] = {}
    for outputs in all_outputs:
        for path in outputs.all():
            resolved = _resolved(path)
            if resolved in read:
                raise InputError(f"{where}: {path} is also an input: choose another video_out_path")
            if resolved in written:
                raise InputError(
                    f"{where}: two jobs write to {path} ({written[resolved].name} and {outputs.video.name}): give each "
                    "its own video_out_path"
                )
            written[resolved] = outputs.video


class StagedFiles:
    """Temporary names beside the files of a run, which get their own names all together.

    A context manager: folders that are missing are made at its start; at its end every file that was written gets its
    place, the last one first undone if one of them cannot; after an error nothing is left, neither files nor folders.
    """

    def __init__(self, targets: Sequence[Path]) -> None:
        """targets: in the order in which they get their places."""
        self._targets = targets
        self._staged: dict[Path, Path] = {}
        self._cleanup = ExitStack()

    def path_of(self, target: Path) -> Path:
        """Where the content of a file is written meanwhile."""
        return self._staged[target]

    def __enter__(self) -> "StagedFiles":
        with ExitStack() as stack:
            for target in self._targets:
                stack.enter_context(_made_folders(target.absolute().parent))
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


def _publish(moves: Sequence[tuple[Path, Path]]) -> None:
    """Gives files their names; if one cannot have it, all that were there before are there again."""
    undo: list[tuple[Path, Path | None]] = []
    try:
        for staged, target in moves:
            kept = _second_name(target)
            undo.append((target, kept))
            os.replace(staged, target)
    except BaseException as error:
        for target, kept in reversed(undo[:-1]):
            with suppress(OSError):  # the disk may be broken altogether: the cause is told below
                os.replace(kept, target) if kept is not None else target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{undo[-1][0]} cannot be written ({error.strerror}): name another output file") from error
        raise
    finally:
        for _, kept in undo:
            if kept is not None:
                _remove(kept)


def _remove(path: Path) -> None:
    """Removes a temporary file, which a later run does where it cannot be done now."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _second_name(path: Path) -> Path | None:
    """A second name for the content of a file, to put it back; None where there is none, or no second name for it."""
    kept = temporary_path(path)
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return None
    return kept


@contextmanager
def _made_folders(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; after an error those made here go again, if they are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _check_folder(path: Path) -> None:
    """Whether files can be made beside a path, or the folder for them."""
    folder = path.absolute().parent
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise InputError(f"cannot write to {path}: {nearest} is not a folder; {_REMEDY}")
    tempfile.TemporaryFile(dir=nearest).close()
    longest = _longest_name(nearest)
    for name in folder.relative_to(nearest).parts:
        if len(os.fsencode(name)) > longest:
            raise InputError(f"the name of the folder {name[:40]}... is too long: {_REMEDY}")


def _check_place(path: Path) -> None:
    longest = _longest_name(path.absolute().parent)
    if len(os.fsencode(path.name)) > longest:
        raise InputError(f"the name {path.name[:40]}... has more than {longest} bytes: {_REMEDY}")
    if os.path.isdir(path):
        raise InputError(f"the output {path} is a folder: {_REMEDY}")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"the output {path} is a pipe or a device: {_REMEDY}")


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, or a folder that is still to be made
        return _LONGEST_NAME


def _is_ours(path: Path) -> bool:
    """Whether a file beside a result says that this program made it."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                return picture.info.get("Software") == MADE_BY
        if path.suffix == ".json":
            return is_record(path)
        tags = probe_streams(path).get("format", {}).get("tags", {})
        return MADE_BY in (tags.get("comment"), tags.get("COMMENT"))
    except (OSError, ValueError, SyntaxError, LatentSyncError, Image.DecompressionBombError):
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()
