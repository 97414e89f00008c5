"""What every test may ask for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several workers, one core each

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)

REPOSITORY = Path(__file__).resolve().parents[1]


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
