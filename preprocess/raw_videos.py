"""Raw videos: find them in a folder or a list, and give each a safe name."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.data.clip_list import VIDEO_SUFFIXES
from latentsync.errors import InputError
from preprocess.step import Clip
from preprocess.store.keys import KEY_CHARS_IN_NAMES

RAW_SUFFIXES = VIDEO_SUFFIXES | {".3gp", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv"}
"""File name suffixes of raw videos."""

_MAX_NAME_CHARS = 60
_MAX_NAME_BYTES = 120
_UNSAFE_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, surrogates (undecodable bytes), line and paragraph separators."""


@dataclass
class FolderScan:
    """Video files of a folder and its subfolders, in a fixed order.

    A file is selected by its suffix, whatever its content. Hidden files and folders are skipped. Links are followed;
    each folder is searched once, so circular links do no harm. A folder that cannot be read is skipped.

    Attributes:
        folder: the folder to search.
        excluded: a folder below it that is not searched (the output folder).
        num_others: number of visible files with other suffixes, found by the last scan.
        unreadable: folders that the last scan could not read.
    """

    folder: Path
    excluded: Path | None = None
    num_others: int = field(default=0, init=False)
    unreadable: list[Path] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is not a folder: name the folder of raw videos with --input_dir")

    def __iter__(self) -> Iterator[Path]:
        self.num_others = 0
        self.unreadable.clear()
        searched = set() if self.excluded is None else {_identity(self.excluded)}
        waiting = [self.folder]
        while waiting:
            folder = waiting.pop()
            identity = _identity(folder)
            if identity is not None and identity in searched:
                continue
            searched.add(identity)
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
    """Files named by a text file: one path per line, relative to the list's folder.

    Empty lines and lines that start with # are skipped. Files may have any suffix.
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
            raise InputError(f"{self.file} is not UTF-8 text: write one path per line into it") from error


def scan_folder(folder: Path, output: Path) -> FolderScan:
    """Return the scan of an input folder; an output folder inside it is excluded.

    Raises:
        InputError: the input folder is missing, or is or lies in the output folder.
    """
    scan = FolderScan(folder.absolute(), output)
    real_input, real_output = folder.resolve(), output.resolve()
    if real_input == real_output or real_output in real_input.parents:
        raise InputError(f"{folder} lies in the output folder {output}: choose an --output_dir outside the raw videos")
    return scan


def read_list(file: Path, output: Path) -> FileList:
    """Return the files of a list outside the output folder, in which the pipeline writes its own lists.

    Raises:
        InputError: the list is missing, or lies in the output folder.
    """
    files = FileList(file)
    if output.resolve() in file.resolve().parents:
        raise InputError(f"{file} lies in the output folder {output}: choose an --output_dir outside the raw videos")
    return files


def raw_clip(path: Path, key: str) -> Clip:
    """Return the clip of a raw file with content key `key`. Its name contains the key, so names are unique."""
    return Clip(key, key, f"{clean_name(path.stem)}-{key[:KEY_CHARS_IN_NAMES]}", path)


def clean_name(stem: str) -> str:
    """Return the stem of a file name without characters that cause trouble in file systems, lists and command lines.

    Control characters and undecodable bytes become _, leading dashes, dots and spaces are removed, and the name is
    truncated to 60 characters and 120 bytes of UTF-8.
    """
    safe = "".join("_" if unicodedata.category(char) in _UNSAFE_CATEGORIES else char for char in stem)
    cut = safe.lstrip("-. ")[:_MAX_NAME_CHARS].encode()[:_MAX_NAME_BYTES]
    return cut.decode(errors="ignore").rstrip() or "clip"


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return device and inode, which identify a folder under any name; None if it cannot be read."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
