"""One case: a command is run on hostile files; it ends in one line or a whole result, and nothing else is changed."""

import contextlib
import hashlib
import io
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS_OF_A_CASE = 90
"""A case that takes longer is taken for one that would never end; most take less than one second."""
MEMORY_OF_A_CASE = 2 << 30
"""Bytes by which this process may grow in one case."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, and what it printed on each stream."""

    code: int
    out: str
    err: str


class Cases:
    """Counts how cases ended, by property and exit code."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, int]] = Counter()

    def add(self, name: str, outcome: Outcome) -> None:
        """Counts one."""
        self.ended[name, outcome.code] += 1


CASES = Cases()


@contextlib.contextmanager
def case_folder() -> Iterator[Path]:
    """A folder of one case; the case runs in it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="latentsync-fuzz-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def run(main: Callable[[list[str]], int], arguments: Sequence[str | Path]) -> Outcome:
    """Runs a command in this process.

    Raises:
        AssertionError: it takes too long, or too much memory.
    """
    out, err = io.StringIO(), io.StringIO()
    memory = psutil.Process().memory_info().rss
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _alarm():
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
    assert psutil.Process().memory_info().rss - memory < MEMORY_OF_A_CASE
    return Outcome(code, out.getvalue(), err.getvalue())


def check_outcome(outcome: Outcome, codes: Sequence[int] = (0, 2)) -> None:
    """One line where it failed, no traceback, no error that nobody foresaw."""
    assert outcome.code in codes, outcome
    assert "Traceback" not in outcome.out + outcome.err, outcome
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (1 if outcome.code == 2 else 0), outcome
    if outcome.code == 2:
        assert outcome.err.splitlines()[-1] == errors[0], outcome


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, by name; folders and other things by what they are."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    return found


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise AssertionError(f"the case did not end within {SECONDS_OF_A_CASE} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS_OF_A_CASE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
