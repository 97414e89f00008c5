"""The list of what is evaluated: one line a video, as a CSV file with paths relative to itself."""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.protocols import PROTOCOLS, RECONSTRUCTION
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.table_file import read_table

MODEL, GROUND_TRUTH, SOURCE = "model", "ground_truth", "source"
"""Usual names of rows of a table: what a model made, what it should have made, and its input left as it is."""

_REQUIRED = ("name", "result", "source", "audio")
_OPTIONAL = ("reference", "report", "protocol", "row")
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,120}")
_ROW = re.compile(r"[A-Za-z0-9_.+-]{1,60}")


@dataclass(frozen=True)
class Pair:
    """One video to be judged, and what it is judged against.

    Attributes:
        name: of the video; the same name in another row of the same protocol is the same input made otherwise.
        result: the video to be judged; a missing one counts as failed.
        source: the video it was made from.
        audio: the speech it was made to say.
        reference: what a perfect result would show; None where nobody knows.
        report: JSON record of its making (`latentsync.pipelines.video_maker` writes it).
        protocol: one of `PROTOCOLS`.
        row: the system that made it, such as ``model``: a row of the report's tables.
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
        """What no two pairs of a list share: protocol, row, name."""
        return self.protocol, self.row, self.name


def check_name(name: str, path: Path) -> str:
    """The name, if a file may be called so. Raises InputError otherwise."""
    if not _NAME.fullmatch(name) or name.startswith((".", " ")):
        raise InputError(
            f"{path}: the name {name!r} cannot name a file: at most 120 characters, no slash, no dot first"
        )
    return name


def check_protocol(protocol: str, path: Path) -> str:
    """The protocol, if there is one of that name. Raises InputError otherwise."""
    if protocol not in PROTOCOLS:
        raise InputError(f"{path}: unknown protocol {protocol!r}: use {' or '.join(PROTOCOLS)}")
    return protocol


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a CSV file with the columns name,result,source,audio and optionally reference,report,protocol,row.

    Raises:
        InputError: the file cannot be used, or names one video twice.
    """
    pairs = [_pair(line, path) for line in read_table(path, _REQUIRED, _OPTIONAL)]
    seen = set()
    for pair in pairs:
        if pair.identity in seen:
            raise InputError(f"{path} lists {pair.name} twice in {pair.protocol}, {pair.row}: give each its own name")
        seen.add(pair.identity)
    return pairs


def read_pair_lists(paths: Sequence[Path]) -> list[Pair]:
    """The pairs of several files; what two of them list alike (control rows) counts once.

    Raises:
        InputError: a file cannot be used, or two files mean different videos by one name.
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
    """Whether a file begins as `write_pairs` begins it."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n") == ",".join((*_REQUIRED, *_OPTIONAL))
    except (OSError, UnicodeDecodeError):
        return False


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Writes the list, its paths relative to it where that is possible; it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*_REQUIRED, *_OPTIONAL))
        for pair in pairs:
            files = (pair.result, pair.source, pair.audio, pair.reference, pair.report)
            writer.writerow((pair.name, *(relative(file, path.parent) for file in files), pair.protocol, pair.row))


def relative(path: Path | None, folder: Path) -> str:
    """A path as it is written into a list in that folder; empty for None."""
    return "" if path is None else os.path.relpath(path.resolve(), folder.resolve())


def _resolved(pair: Pair) -> list[Path | None]:
    files = (pair.result, pair.source, pair.audio, pair.reference, pair.report)
    return [None if file is None else file.resolve() for file in files]


def _pair(line: dict[str, str], path: Path) -> Pair:
    row = line["row"] or MODEL
    if not _ROW.fullmatch(row):
        raise InputError(f"{path}: the row {row!r} is not a short name: use letters, digits and _.+-")
    return Pair(
        name=check_name(line["name"], path),
        result=path.parent / line["result"],
        source=path.parent / line["source"],
        audio=path.parent / line["audio"],
        reference=path.parent / line["reference"] if line["reference"] else None,
        report=path.parent / line["report"] if line["report"] else None,
        protocol=check_protocol(line["protocol"] or RECONSTRUCTION, path),
        row=row,
    )
