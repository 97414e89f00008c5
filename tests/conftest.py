"""Shared fixtures and hooks: optional programs, repository copies, golden values."""

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
"""Processes that tests start in any folder can import the modules of the repository."""
WHOLE_PATH = os.environ.get("PATH", os.defpath)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one worker more than cores: tests wait for a fifth of their time. Two more were no faster on two cores."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "slow: takes many seconds; tests.first_contact leaves it out")
    config.addinivalue_line(
        "markers", "long: takes many processor seconds, and quicker tests cover its parts; runs with -m long"
    )
    for name, programs in OPTIONAL_PROGRAMS.items():
        config.addinivalue_line("markers", f"needs_{name}: skipped without {programs[0]}, which other tests never see")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that require an optional program through a fixture; deselect long ones unless -m names them."""
    if "long" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        for name in OPTIONAL_PROGRAMS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(f"needs_{name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hide the optional programs from a test that is not marked as requiring them, and from its subprocesses."""
    with path_with([name for name in OPTIONAL_PROGRAMS if item.get_closest_marker(f"needs_{name}")]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Hide them from shared fixtures too, whose result would otherwise depend on the first test that uses them."""
    if fixturedef.scope == "function":
        return (yield)
    with path_with([name for name in OPTIONAL_PROGRAMS if name in fixturedef.argnames]):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests whose program is not installed."""
    for name in OPTIONAL_PROGRAMS:
        if item.get_closest_marker(f"needs_{name}"):
            installed(name)


@contextmanager
def path_with(names: Collection[str]) -> Iterator[None]:
    """Return a PATH with these optional programs and without the others."""
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
"""Temporary folders, removed when the process ends."""


def installed(name: str) -> str:
    """Return the path of an optional program; skip the test if it is missing."""
    found = find_program(name, WHOLE_PATH)
    if found is None:
        program = OPTIONAL_PROGRAMS[name][0]
        pytest.skip(f"{program} is not installed (Debian: apt-get install --no-install-recommends {program})")
    return found


@pytest.fixture(scope="session")
def espeak() -> str:
    """Path of espeak-ng, the speech synthesizer of the synthetic videos."""
    return installed("espeak")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium."""
    return installed("chromium")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Restore the default SIGINT handler, which a shell disables for background jobs, for tests and subprocesses."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fresh_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository without downloaded weights, as after `git clone`."""
    return copy_repository(tmp_path_factory.mktemp("fresh") / "a copy")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the published architecture on deterministic weights and inputs."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder with videos of real people: named by LATENTSYNC_REAL_CLIPS, else ``../shared/real``."""
    folder = Path(os.environ.get("LATENTSYNC_REAL_CLIPS", REPOSITORY.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real clips in {folder} (set LATENTSYNC_REAL_CLIPS)")
    return folder


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """Restore torch's number of threads after a test that changes it."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def embedding_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the face embedding, with a classifier as in the published file."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = InceptionResnetV1(pretrained=None, classify=False)
    path = tmp_path_factory.mktemp("embedding") / "embedding.pt"
    torch.save({**network.state_dict(), "logits.weight": torch.zeros(2)}, path)
    return path
