"""Commands on disks that fill up, break or become read-only lose nothing, say one line, and go on when run again.

A few of the writes here; `python -m benchmarks.faults` tries all of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.injector import FAULTS, Injector, injecting, missing_tools
from tests.faults.scenarios import SCENARIOS, Sweep

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing_tools() is not None, reason=missing_tools() or "")]

NUM_POINTS = {"inference": 3, "data pipeline": 2, "app": 2, "training": 2, "adaptation": 2}


@pytest.fixture(scope="module")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Injector]:
    with injecting(tmp_path_factory.mktemp("server")) as injector:
        yield injector


@pytest.mark.parametrize("name", NUM_POINTS)
def test_nothing_is_lost_and_the_same_command_goes_on(injector: Injector, tmp_path: Path, name: str) -> None:
    sweep = Sweep(injector, SCENARIOS[name], tmp_path)
    attempts = [sweep.attempt(at, fault) for at, fault in sweep.points(NUM_POINTS[name])]
    broken = {(one.at, one.fault.name, one.ended.first): one.broken_promises for one in attempts if one.broken_promises}
    assert not broken
    assert sum(one.ended.num_failed > 0 for one in attempts) >= len(attempts) - 1, "the faults were not injected"


def test_every_kind_of_write_is_counted_and_fails(injector: Injector, tmp_path: Path) -> None:
    calm = injector.run("write", [str(tmp_path / "calm")], tmp_path / "calm")
    assert (calm.code, calm.num_failed) == (0, 0), calm.err
    kinds = set()
    for at in range(1, calm.num_calls + 1):
        folder = tmp_path / str(at)
        ended = injector.run("write", [str(folder)], folder, FAULTS[0], at)
        assert ended.code == 1, ended.first
        assert "No space left on device" in ended.err
        kinds.add(ended.first.split()[0])
    assert kinds == {"mkdir", "open", "write", "sync", "truncate", "rename", "link"}


def test_elsewhere_nothing_is_counted(injector: Injector, tmp_path: Path) -> None:
    ended = injector.run("write", [str(tmp_path / "here")], tmp_path / "there", FAULTS[0], 1)
    assert (ended.code, ended.num_calls, ended.num_failed) == (0, 0, 0)


def test_tools_that_a_command_starts_fail_too(injector: Injector, tmp_path: Path) -> None:
    ended = injector.run("encode", [str(tmp_path / "a.mp4")], tmp_path, FAULTS[0], 2)
    assert ended.num_failed > 0
    assert ended.code != 0
    assert "No space left on device" in ended.err
