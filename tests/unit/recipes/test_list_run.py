from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentsync.errors import LatentSyncError
from latentsync.executors.base import Failed, FinishedTask
from latentsync.pipelines.video_maker import Outcome, VideoJob, VideoMaker, read_record
from latentsync.recipes.list_progress import ListProgress
from latentsync.recipes.list_run import ListWork, make_all


@dataclass
class ToldExecutor:
    """Finishes every task with a given result, or as made if it is None."""

    results: list[Failed | None]

    def run(self, work: ListWork, tasks: Iterable[Any]) -> Iterator[FinishedTask]:
        for (index, job), result in zip(tasks, self.results, strict=True):
            yield FinishedTask((index, job), result or Outcome(job), 1.0)


def job(folder: Path, name: str) -> VideoJob:
    return VideoJob(folder / "face.mp4", folder / "speech.wav", folder / f"{name}.mp4", folder / f"{name}.json")


def maker(temp_dir: Path) -> Any:
    return SimpleNamespace(
        arguments=Namespace(device="cpu"),
        use_default_preset=True,
        temp_dir=temp_dir,
        record_failure=VideoMaker({"steps": 1}, lambda: pytest.fail("nothing is generated here")).record_failure,
    )


def test_a_job_whose_worker_died_is_recorded_as_failed(tmp_path: Path) -> None:
    jobs = {1: job(tmp_path, "b"), 0: job(tmp_path, "a")}
    executor: Any = ToldExecutor([Failed("crashed", "its worker was killed"), None])
    outcomes = dict(make_all(jobs, maker(tmp_path), executor))
    assert [outcomes[index].error for index in (0, 1)] == [None, "crashed: its worker was killed"]
    record = read_record(jobs[1].record)
    assert record == {
        "key": None,
        "status": "failed",
        "error": "crashed: its worker was killed",
        "settings": {"steps": 1},
    }
    assert not jobs[0].record.exists()


def test_a_file_that_is_no_record_is_kept(tmp_path: Path) -> None:
    one = job(tmp_path, "a")
    one.record.write_text("mine")
    executor: Any = ToldExecutor([Failed("memory", "9 GiB used")])
    assert dict(make_all({0: one}, maker(tmp_path), executor))[0].error == "memory: 9 GiB used"
    assert one.record.read_text() == "mine"


def test_networks_that_cannot_be_loaded_stop_the_list(tmp_path: Path) -> None:
    executor: Any = ToldExecutor([Failed("error", "unet.pt is damaged: download it again")])
    with pytest.raises(LatentSyncError, match=r"a worker failed: unet.pt is damaged"):
        list(make_all({0: job(tmp_path, "a")}, maker(tmp_path), executor))


def test_the_device_of_the_command_decides_whether_workers_take_accelerators() -> None:
    assert not ListWork(Namespace(device="cpu"), True, ".").uses_device
    assert ListWork(Namespace(device="auto"), True, ".").uses_device


def test_progress_counts_jobs_and_estimates_from_generated_videos(tmp_path: Path) -> None:
    now = [0.0]
    progress = ListProgress(5, lambda: now[0])
    one = job(Path("out"), "a")
    now[0] = 1.0
    assert progress.line(Outcome(one, was_there=True)) == "1 of 5: out/a.mp4: done"
    assert progress.line(Outcome(one, "no face")) == "2 of 5: out/a.mp4: no face"
    now[0] = 60.0
    assert progress.line(Outcome(one)) == "3 of 5: out/a.mp4: done (60.0 jobs per hour, 0:02:00 left)"
    now[0] = 80.0
    assert progress.line(Outcome(one)) == "4 of 5: out/a.mp4: done (90.0 jobs per hour, 0:00:40 left)"
