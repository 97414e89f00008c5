"""Sections of the GPU report that fail, for processes that import them by name."""

import os
import time
from collections.abc import Iterator

from benchmarks.gpu_report.section import Case, Section, Setup, Values


def _fine() -> Values:
    return {"figure": 1.0}


def _raises() -> Values:
    raise RuntimeError("no kernel image\nmore lines")


def _dies() -> Values:
    os._exit(3)


def _hangs() -> Values:
    time.sleep(3600)
    return {}


def _section(name: str) -> Section:
    return Section(name, f"Section {name}", "", 1.0, globals()[f"{name}_cases"])


def raising_cases(setup: Setup) -> Iterator[Case]:
    yield from (Case("before", _fine), Case("broken", _raises), Case("after", _fine))


def dying_cases(setup: Setup) -> Iterator[Case]:
    yield from (Case("before", _fine), Case("broken", _dies), Case("after", _fine))


def hanging_cases(setup: Setup) -> Iterator[Case]:
    yield from (Case("before", _fine), Case("broken", _hangs))


def unmade_cases(setup: Setup) -> Iterator[Case]:
    yield Case("before", _fine)
    raise RuntimeError("cannot be built")


RAISING, DYING, HANGING, UNMADE = (_section(name) for name in ("raising", "dying", "hanging", "unmade"))
