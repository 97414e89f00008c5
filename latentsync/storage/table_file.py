"""Lists written by users: CSV files with a header."""

import csv
from collections.abc import Sequence
from pathlib import Path

from latentsync.errors import InputError


def read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file (UTF-8, with a header).

    Args:
        path: the file.
        required: columns that must have a value in every line.
        optional: further columns that the file may have.

    Returns:
        Lines as {column: value}; the value of a missing optional column is empty.

    Raises:
        InputError: the file cannot be read, has no lines, or a column is missing, empty or unknown.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a file: write a CSV file with the columns {','.join(required)}")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            lines = [{name: (value or "").strip() for name, value in line.items() if name} for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: write a file with the columns {','.join(required)}") from error
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if name not in (*required, *optional)]
    if missing or unknown:
        fault = f"lacks the column {missing[0]}" if missing else f"has the unknown column {unknown[0]!r}"
        raise InputError(f"{path} {fault}: the allowed columns are {','.join((*required, *optional))}")
    if not lines:
        raise InputError(f"{path} lists nothing: add a line for each video below the header")
    for number, line in enumerate(lines, start=1):
        empty = [name for name in required if not line.get(name)]
        if empty:
            raise InputError(f"{path}, entry {number}: {empty[0]} is empty")
    return [{name: line.get(name) or "" for name in (*required, *optional)} for line in lines]
