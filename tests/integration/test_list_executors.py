"""Lists of jobs in workers: failures cost one job each, the same command resumes, a stop leaves nothing behind."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from latentsync.media.ffmpeg_tools import run_tool
from latentsync.pipelines.video_maker import read_record
from latentsync.recipes import list_run
from scripts.inference import main
from tests.demo_weights import DEMO_RUN
from tests.fake_list_work import MISBEHAVE, FakeListWork
from tests.process_state import process_as_before
from tests.ray_machines import two_machines

PATIENCE_S = 120


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with a video and a speech; workers have a stand-in for the pipeline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(list_run, "ListWork", FakeListWork)
    run_tool(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=0.2", "face.mp4"])
    run_tool(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.2", "speech.wav"])
    with process_as_before():
        yield tmp_path


def listed(folder: Path, *names: str) -> list[str]:
    """Write a list with a job for each name and return the arguments of the command."""
    lines = (f"face.mp4,speech.wav,out/{name}.mp4" for name in names)
    (folder / "jobs.csv").write_text("\n".join(["video_path,audio_path,video_out_path", *lines]) + "\n")
    (folder / "out").mkdir()
    return ["--list", "jobs.csv", *DEMO_RUN]


def num_begun(folder: Path, name: str) -> int:
    return len(list((folder / "out").glob(f"begun-{name}-*")))


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "out").glob(".latentsync-*"))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_job_that_dies_or_hangs_costs_itself_and_the_same_command_resumes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a", "dies", "hangs", "b")
    command = [*listed(folder, *names), "--executor", "local", "--workers", "2", "--job_timeout_s", "5"]
    (folder / "out" / MISBEHAVE).touch()
    assert main(command) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in printed[:4]] == [[str(n), "of", "4:"] for n in (1, 2, 3, 4)]
    assert "jobs per hour" in printed[3]
    table = {line.split()[0].removeprefix("out/"): line for line in printed[5:-1]}
    assert [name.removesuffix(".mp4") for name in table] == list(names)
    assert "crashed: its worker was killed by SIGKILL" in table["dies.mp4"]
    assert "timeout: not finished after 5 s (--job_timeout_s)" in table["hangs.mp4"]
    assert printed[-1] == "2 of 4 results are there, 0 from before"
    for name in ("dies", "hangs"):
        record = read_record(folder / "out" / f"{name}.mp4.lipsync.json")
        assert record is not None
        assert record["status"] == "failed"
    assert unfinished(folder) == []

    (folder / "out" / MISBEHAVE).unlink()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 results are there, 2 from before"
    assert [num_begun(folder, name) for name in names] == [1, 2, 2, 1]


@pytest.mark.slow
def test_a_stop_ends_the_workers_and_leaves_no_unfinished_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*listed(folder, "a", "hangs"), "--executor", "local"]
    (folder / "out" / MISBEHAVE).touch()

    def interrupt() -> None:
        wait_until(lambda: num_begun(folder, "hangs"))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert main(command) == 128 + signal.SIGINT
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command resumes"
    workers = [int(path.name.rpartition("-")[2]) for path in (folder / "out").glob("begun-*")]
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    assert unfinished(folder) == []
    assert (folder / "out" / "a.mp4").is_file()


@pytest.mark.long
def test_on_ray_the_jobs_of_a_lost_machine_run_elsewhere(folder: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install --editable '.[cluster]')")
    names = ("a", "b", "c", "d")
    command = listed(folder, *names)
    with two_machines() as (address, lose_one):

        def lose() -> None:
            wait_until(lambda: list((folder / "out").glob("doomed-*")))
            lose_one()

        losing = threading.Thread(target=lose)
        losing.start()
        assert main([*command, "--executor", "ray", "--ray_address", address]) == 0
        losing.join()
    assert all((folder / "out" / f"{name}.mp4").is_file() for name in names)
    (doomed,) = (folder / "out").glob("doomed-*")
    counts = {name: num_begun(folder, name) for name in names}
    assert counts.pop(doomed.name.removeprefix("doomed-")) == 2
    assert set(counts.values()) == {1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "2"], "--workers is for workers: add --executor local or ray"),
        (["--executor", "local", "--device", "cuda:1"], "--device cuda:1 names one device"),
    ],
)
def test_arguments_that_contradict_each_other_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([*listed(folder, "a"), *more]) == 2
    assert message in capsys.readouterr().err
