"""Optional programs, and a PATH without them.

A test that starts one of these programs is marked ``needs_<name>`` or requests the fixture ``<name>``; a shared
fixture that starts one requests it too. Everything else runs on a PATH without them, on every machine: see
tests/conftest.py.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

OPTIONAL_PROGRAMS = {
    "espeak": ("espeak-ng", "espeak"),
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
}
"""Names of markers and fixtures, each with alternative programs, of which one is enough."""


def bare_path(folder: Path, path: str, programs: Iterable[str]) -> str:
    """Return a PATH on which some programs are not found.

    Args:
        folder: where folders of links are made, in place of those that hold one of the programs.
        path: the PATH to start from.
        programs: what is hidden.
    """
    hidden = set(programs)
    entries = []
    for number, entry in enumerate(path.split(os.pathsep)):
        source = Path(entry or os.curdir)
        if any((source / name).exists() for name in hidden):
            links = folder / str(number)
            links.mkdir()
            for program in source.iterdir():
                if program.name not in hidden:
                    (links / program.name).symlink_to(program.absolute())
            entry = str(links)
        entries.append(entry)
    return os.pathsep.join(entries)


def find_program(name: str, path: str) -> str | None:
    """Return the path of the first of these programs on a PATH, or None."""
    return next((found for program in OPTIONAL_PROGRAMS[name] if (found := shutil.which(program, path=path))), None)
