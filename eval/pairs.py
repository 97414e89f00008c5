"""The list of evaluated videos: a CSV file with one line per video and paths relative to the file."""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import InputError, NotMeasured
from latentsync.storage.atomic import atomic_write
from latentsync.storage.table_file import read_table

RECONSTRUCTION = "reconstruction"
"""Protocol in which every video is generated with its own audio; the video itself is the ground truth."""

CROSS_AUDIO = "cross_audio"
"""Protocol in which every video is generated with another video's audio; only rendered people have a ground truth."""

PROTOCOLS = (RECONSTRUCTION, CROSS_AUDIO)

MODEL, GROUND_TRUTH, SOURCE = "model", "ground_truth", "source"
"""Usual row names of a report: a model's results, the ground truth, and the unchanged input."""

_REQUIRED = ("name", "result", "source", "audio")
_OPTIONAL = ("reference", "report", "protocol", "row")
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,120}")
_ROW = re.compile(r"[A-Za-z0-9_.+-]{1,60}")


@dataclass(frozen=True)
class Pair:
    """One generated video and the files it is compared with.

    Attributes:
        name: name of the video; pairs with equal names in different rows of a protocol share their input.
        result: the generated video; a missing one counts as failed.
        source: the video given to the model.
        audio: the driving speech, an audio file or a video with audio.
        reference: what a perfect result would show, frame by frame: the source itself for reconstruction, a render of
            the same person with the driving speech for synthetic cross-audio; None if unknown.
        report: JSON record of the generation (written by `latentsync.pipelines.video_maker`), if any.
        protocol: one of `PROTOCOLS`.
        row: the system that generated it, such as ``model``: a row of the report's tables.
    """

    name: str
    result: Path
    source: Path
    audio: Path
    reference: Path | None = None
    report: Path | None = None
    protocol: str = RECONSTRUCTION
    row: str = MODEL

    @property
    def identity(self) -> tuple[str, str, str]:
        """Protocol, row and name, which are unique in a list."""
        return self.protocol, self.row, self.name

    @property
    def reference_or_source(self) -> Path:
        """The reference, or the source if there is no reference."""
        return self.source if self.reference is None else self.reference

    def required_reference(self) -> Path:
        """Return the reference; raise NotMeasured if there is none."""
        if self.reference is None:
            raise NotMeasured("there is no reference")
        return self.reference


def check_name(name: str, path: Path) -> str:
    """Return the name if it is a valid file name; raise InputError otherwise."""
    if not _NAME.fullmatch(name) or name.startswith((".", " ")):
        raise InputError(
            f"{path}: the name {name!r} cannot name a file: at most 120 characters, no slash, no dot first"
        )
    return name


def check_protocol(protocol: str, path: Path) -> str:
    """Return the protocol if it is known; raise InputError otherwise."""
    if protocol not in PROTOCOLS:
        raise InputError(f"{path}: unknown protocol {protocol!r}: use {' or '.join(PROTOCOLS)}")
    return protocol


def read_pairs(path: Path) -> list[Pair]:
    """Read a CSV file with the columns name,result,source,audio and optionally reference,report,protocol,row.

    Raises:
        InputError: the file is invalid, or lists one video twice.
    """
    pairs = [_pair(line, path) for line in read_table(path, _REQUIRED, _OPTIONAL)]
    seen = set()
    for pair in pairs:
        if pair.identity in seen:
            raise InputError(f"{path} lists {pair.name} twice in {pair.protocol}, {pair.row}: give each its own name")
        seen.add(pair.identity)
    return pairs


def read_pair_lists(paths: Sequence[Path]) -> list[Pair]:
    """Read several lists; a pair that occurs in more than one of them (control rows) is returned once.

    Raises:
        InputError: a file is invalid, or two files use one name for different videos.
    """
    found: dict[tuple[str, str, str], Pair] = {}
    for path in paths:
        for pair in read_pairs(path):
            known = found.setdefault(pair.identity, pair)
            if known != pair and _resolved(known) != _resolved(pair):
                what = f"{pair.protocol}, {pair.row}, {pair.name}"
                raise InputError(f"{path} means another video by {what} than a list before it: rename the row")
    return list(found.values())


def is_pair_list(path: Path) -> bool:
    """Return True if the file has the header that `write_pairs` writes."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n") == ",".join((*_REQUIRED, *_OPTIONAL))
    except (OSError, UnicodeDecodeError):
        return False


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write the list atomically, with paths relative to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*_REQUIRED, *_OPTIONAL))
        for pair in pairs:
            paths = (_relative(each, path.parent) for each in _files(pair))
            writer.writerow((pair.name, *paths, pair.protocol, pair.row))


def listed_file(line: dict[str, str], column: str, path: Path) -> Path:
    """Return the file named in a column of a list, relative to the list's folder."""
    return path.parent / line[column]


def optional_file(line: dict[str, str], column: str, path: Path) -> Path | None:
    """Return the file named in a column of a list, or None if the column is empty."""
    return listed_file(line, column, path) if line[column] else None


def _relative(path: Path | None, folder: Path) -> str:
    return "" if path is None else os.path.relpath(path.resolve(), folder.resolve())


def _files(pair: Pair) -> tuple[Path | None, ...]:
    """Return the files of a pair in the order of the columns."""
    return pair.result, pair.source, pair.audio, pair.reference, pair.report


def _resolved(pair: Pair) -> list[Path | None]:
    return [None if file is None else file.resolve() for file in _files(pair)]


def _pair(line: dict[str, str], path: Path) -> Pair:
    row = line["row"] or MODEL
    if not _ROW.fullmatch(row):
        raise InputError(f"{path}: the row {row!r} is not a short name: use letters, digits and _.+-")
    return Pair(
        name=check_name(line["name"], path),
        result=listed_file(line, "result", path),
        source=listed_file(line, "source", path),
        audio=listed_file(line, "audio", path),
        reference=optional_file(line, "reference", path),
        report=optional_file(line, "report", path),
        protocol=check_protocol(line["protocol"] or RECONSTRUCTION, path),
        row=row,
    )
