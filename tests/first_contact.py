"""Run tests as on a new user's machine: without espeak-ng and Chromium, with published weights, from another folder.

    python -m tests.first_contact [PYTEST_ARGUMENTS]

The tests run in a copy of the repository that has stand-ins (4 kB of zeros) of all published weights, from another
folder, on a PATH without the optional programs. Without arguments it runs the test files whose result may depend on
the weights; of the tests marked `slow` only those that require one of the programs, which must skip. Other tests that
start the programs without a marker fail in every full run, because tests/conftest.py hides the programs. It also fails
if a test leaves files in the copy or in the working folder.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tests.bare_path import OPTIONAL_PROGRAMS, bare_path
from tests.repository_copy import add_stand_ins, copy_repository, environment_of

CONCERNED = re.compile(
    r"tests\.demo_weights|bare_path|repository_copy|CHECKPOINTS|AUXILIARY|checkpoints/auxiliary|find_weight_set"
    "|sync_comparison|build_detector|doctor"
)
"""Words in test files that may depend on the weights."""
NUM_WORKERS = 1
"""Processes of pytest; `.ci/run` runs the whole suite at the same time."""
BY_PYTHON = ("__pycache__", ".pytest_cache")


def main(arguments: Sequence[str]) -> int:
    """Run the tests; return the exit status of pytest, or 1 if they left files behind."""
    with tempfile.TemporaryDirectory(prefix="latentsync-first-contact-") as folder:
        place = Path(folder)
        copy = copy_repository(place / "a copy")
        add_stand_ins(copy / "checkpoints")
        elsewhere = place / "elsewhere"
        for made in (elsewhere, place / "links"):
            made.mkdir()
        environment = environment_of(copy, place)
        del environment["PYTHONPATH"]  # tests/conftest.py sets it
        hidden = chain.from_iterable(OPTIONAL_PROGRAMS.values())
        environment["PATH"] = bare_path(place / "links", environment["PATH"], hidden)
        before = contents(copy)
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--numprocesses={NUM_WORKERS}",
            *(arguments or concerned_tests(copy)),
        ]
        where = copy if arguments else elsewhere
        status = subprocess.run(command, cwd=where, env=environment, check=False).returncode
        left = sorted(map(str, (contents(copy) - before) | contents(elsewhere)))
    if left:
        print(f"error: the tests left {', '.join(left)}", file=sys.stderr)
    return status or int(bool(left))


def concerned_tests(root: Path) -> list[str]:
    """Return the arguments of pytest that select the tests that may depend on the weights."""
    files = (path for path in sorted((root / "tests").rglob("test_*.py")) if CONCERNED.search(path.read_text("utf-8")))
    needs = " or ".join(f"needs_{name}" for name in OPTIONAL_PROGRAMS)
    return ["-m", f"not slow or {needs}", *map(str, files)]


def contents(folder: Path) -> set[Path]:
    """Return the files in a folder, except Python's caches."""
    return {
        (Path(where) / name).relative_to(folder)
        for where, _, names in os.walk(folder)
        for name in names
        if not set(Path(where).relative_to(folder).parts) & set(BY_PYTHON)
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
