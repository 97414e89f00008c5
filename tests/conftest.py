"""What every test may ask for, and what every test is kept from."""

import os
import signal
import tempfile
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several workers, one core each
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # before torch: tests compare numbers of the CPU, and so do commands

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)
from tests.bare_path import OPTIONAL_PROGRAMS, bare_path, find_program
from tests.repository_copy import copy_repository

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
"""Modules of the repository are found by what tests start in any folder."""
WHOLE_PATH = os.environ.get("PATH", os.defpath)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers more than cores: tests wait a fifth of their time for the programs they start."""
    return (os.cpu_count() or 1) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Declares the markers."""
    config.addinivalue_line("markers", "slow: takes many seconds; tests.first_contact leaves it out")
    for name, programs in OPTIONAL_PROGRAMS.items():
        config.addinivalue_line("markers", f"needs_{name}: skipped without {programs[0]}, which other tests never see")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need an optional program through a fixture."""
    for item in items:
        for name in OPTIONAL_PROGRAMS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(f"needs_{name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hides the optional programs that a test is not marked to need, from what it starts too."""
    with path_with([name for name in OPTIONAL_PROGRAMS if item.get_closest_marker(f"needs_{name}")]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Hides them from shared fixtures too, which would otherwise see what the first test to use them sees."""
    if fixturedef.scope == "function":
        return (yield)
    with path_with([name for name in OPTIONAL_PROGRAMS if name in fixturedef.argnames]):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests whose program is not installed."""
    for name in OPTIONAL_PROGRAMS:
        if item.get_closest_marker(f"needs_{name}"):
            installed(name)


@contextmanager
def path_with(names: Collection[str]) -> Iterator[None]:
    """PATH with these optional programs, without the others."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = _path_with(frozenset(names))
    try:
        yield
    finally:
        os.environ["PATH"] = before


@cache
def _path_with(names: frozenset[str]) -> str:
    hidden = [program for name, programs in OPTIONAL_PROGRAMS.items() if name not in names for program in programs]
    folder = tempfile.TemporaryDirectory(prefix="latentsync-tests-path-")
    _folders.append(folder)
    return bare_path(Path(folder.name), WHOLE_PATH, hidden)


_folders: list["tempfile.TemporaryDirectory[str]"] = []
"""They go at the end of the process."""


def installed(name: str) -> str:
    """Path of an optional program; skips the test without it."""
    found = find_program(name, WHOLE_PATH)
    if found is None:
        program = OPTIONAL_PROGRAMS[name][0]
        pytest.skip(f"{program} is not installed (Debian: apt-get install --no-install-recommends {program})")
    return found


@pytest.fixture(scope="session")
def espeak() -> str:
    """Path of espeak-ng, which speaks for synthetic people."""
    return installed("espeak")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium."""
    return installed("chromium")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C works in the tests and in what they start, even where they run in the background of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fresh_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a fresh clone: with the demo weights only."""
    return copy_repository(tmp_path_factory.mktemp("fresh") / "a copy")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the published architecture on deterministic weights and inputs."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real talking people: named by LATENTSYNC_REAL_CLIPS, else ``../shared/real`` beside the checkout."""
    folder = Path(os.environ.get("LATENTSYNC_REAL_CLIPS", REPOSITORY.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real clips in {folder} (set LATENTSYNC_REAL_CLIPS)")
    return folder


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """Puts the number of torch's threads back after a test that changes it."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
