"""Which raw files there are: a folder searched to its depths, or a list; both read lazily."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.data.clip_list import VIDEO_SUFFIXES
from latentsync.errors import InputError

RAW_SUFFIXES = VIDEO_SUFFIXES | {".3gp", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv"}
"""What raw videos come as."""


@dataclass
class FolderScan:
    """The video files of a folder, in a fixed order.

    A file counts by its suffix, whatever is in it; hidden files and folders are left out. Links are followed, each
    folder is searched once, so links that go round do no harm. A folder that cannot be read is left out.

    Attributes:
        folder: where to search.
        left_out: a folder in it that is not searched (the output folder).
        num_others: how many visible files of the last scan have another suffix.
        unreadable: folders that the last scan could not read.
    """

    folder: Path
    left_out: Path | None = None
    num_others: int = field(default=0, init=False)
    unreadable: list[Path] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder: name the folder of raw videos with --input_dir")

    def __iter__(self) -> Iterator[Path]:
        self.num_others = 0
        self.unreadable.clear()
        seen = set() if self.left_out is None else {_identity(self.left_out)}
        waiting = [self.folder]
        while waiting:
            folder = waiting.pop()
            identity = _identity(folder)
            if identity is not None and identity in seen:
                continue
            seen.add(identity)
            folders, files = self._entries(folder)
            yield from files
            waiting.extend(reversed(folders))

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        folders, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(folder / entry.name)
                    elif entry.is_file():
                        files.append(folder / entry.name)
        except OSError:
            self.unreadable.append(folder)
        videos = [file for file in files if file.suffix.lower() in RAW_SUFFIXES]
        self.num_others += len(files) - len(videos)
        return folders, videos


@dataclass
class FileList:
    """The files that a text file names, one path a line, relative to the list's folder.

    Empty lines and lines that begin with # are left out. Suffixes do not matter here.
    """

    file: Path

    def __post_init__(self) -> None:
        if not self.file.is_file():
            raise InputError(f"{self.file} does not exist: give --input_list a text file with one path a line")

    def __iter__(self) -> Iterator[Path]:
        try:
            with self.file.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    name = line.strip()
                    if name and not name.startswith("#"):
                        yield self.file.absolute().parent / name
        except UnicodeDecodeError as error:
            raise InputError(f"{self.file} is no UTF-8 text: write one path a line into it") from error


def scan_folder(folder: Path, output: Path) -> FolderScan:
    """The scan of an input folder that leaves the output folder out where that lies in it.

    Raises:
        InputError: there is no such folder, or it is the output folder or lies in it.
    """
    scan = FolderScan(folder.absolute(), output)
    real_input, real_output = folder.resolve(), output.resolve()
    if real_input == real_output or real_output in real_input.parents:
        raise InputError(f"{folder} lies in the output folder {output}: choose an --output_dir outside the raw videos")
    return scan


def read_list(file: Path, output: Path) -> FileList:
    """The files of a list that does not lie in the output folder, where the pipeline writes lists of its own.

    Raises:
        InputError: there is no such file, or it lies there.
    """
    listed = FileList(file)
    if output.resolve() in file.resolve().parents:
        raise InputError(f"{file} lies in the output folder {output}: choose an --output_dir outside the raw videos")
    return listed


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from others under whatever name; None where it cannot be seen."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
