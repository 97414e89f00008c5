import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.errors import DeviceMemoryError, InputError, NonFiniteError, ToolError
from latentsync.jobs.folders import JobFolders
from latentsync.jobs.job import Job, JobState
from latentsync.jobs.queue import KILLED, MAX_STARTS, NUM_CHECKS, JobQueue, QueueFullError
from latentsync.jobs.store import JobRecord
from latentsync.jobs.visible_text import A_FILE, UNEXPECTED

PATIENCE = 30


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[JobFolders]:
    with JobFolders(tmp_path / "work", keep_hours=1) as folders:
        yield folders


@pytest.fixture
def queue(folders: JobFolders) -> Iterator[JobQueue]:
    with JobQueue(folders, max_waiting=2) as queue:
        yield queue


def make_job(folders: JobFolders, work: Callable[[Job], Any], names: dict[Path, str] | None = None) -> Job:
    folder = folders.new()
    return Job(folder.name, folder, work, None, names or {}, grace_seconds=1000)


def wait_for_end(job: Job, queue: JobQueue, is_same: bool = True) -> None:
    """Wait for a job; `is_same`: of this queue, and not of that of an earlier process."""
    done = threading.Event()
    for _ in range(PATIENCE * 100):
        found = queue.find(job.id)
        if found is not None and found.state.is_over and (found is job or not is_same):
            return
        done.wait(0.01)
    raise AssertionError(job.state)


def make_checked_job(folders: JobFolders, prepare: Callable[[Job], Any]) -> Job:
    folder = folders.new()
    return Job(folder.name, folder, None, prepare, grace_seconds=1000)


def idle(job: Job) -> None:
    """Do nothing."""


class Blocked:
    """Work that reports progress until `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str:
        self.begun.set()
        (job.folder / "half").write_text("written so far")
        while not self.go.wait(0.01):
            job.report("lips", 1, 2)
        return "made"


def test_a_job_returns_the_result_of_its_work_and_keeps_its_folder(queue: JobQueue, folders: JobFolders):
    job = make_job(folders, lambda job: job.folder.name)
    queue.submit(job)
    wait_for_end(job, queue)
    assert (job.state, job.result) == (JobState.DONE, job.folder.name)
    assert job.folder.is_dir()
    assert queue.active() == []


def test_jobs_run_one_after_the_other_in_order(queue: JobQueue, folders: JobFolders):
    blocked, order = Blocked(), []
    jobs = [make_job(folders, blocked), *(make_job(folders, lambda job, i=i: order.append(i)) for i in range(2))]
    for job in jobs:
        queue.submit(job)
    assert blocked.begun.wait(PATIENCE)
    assert [queue.view(job).ahead for job in jobs] == [0, 1, 2]
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.QUEUED, JobState.QUEUED]
    blocked.go.set()
    wait_for_end(jobs[2], queue)
    assert order == [0, 1]


def test_a_full_queue_rejects_jobs(queue: JobQueue, folders: JobFolders):
    blocked = Blocked()
    for work in (blocked, print, idle):
        queue.submit(make_job(folders, work))
    refused = make_job(folders, idle)
    with pytest.raises(QueueFullError, match="2 are waiting"):
        queue.submit(refused)
    assert not refused.folder.exists()
    blocked.go.set()


class CountedChecks:
    """A check that lasts until `go` is set and counts how many run concurrently."""

    def __init__(self) -> None:
        self.go, self.lock, self.changed = threading.Event(), threading.Lock(), threading.Semaphore(0)
        self.now = self.most = 0

    def __call__(self, job: Job) -> Callable[[Job], Any]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.changed.release()
        assert self.go.wait(PATIENCE)
        with self.lock:
            self.now -= 1
        return lambda job: "made"


def test_few_files_are_checked_at_a_time_and_count_as_waiting(folders: JobFolders):
    checks = CountedChecks()
    with JobQueue(folders, max_waiting=5) as queue:
        jobs = [make_checked_job(folders, checks) for _ in range(6)]
        for job in jobs:
            queue.submit(job)
        for _ in range(NUM_CHECKS):
            assert checks.changed.acquire(timeout=PATIENCE)
        refused = make_checked_job(folders, checks)
        with pytest.raises(QueueFullError, match="5 are waiting"):
            queue.submit(refused)
        assert not refused.folder.exists()
        assert [queue.view(job).ahead for job in jobs] == list(range(6))
        checks.go.set()
        for job in jobs:
            wait_for_end(job, queue)
    assert checks.most == NUM_CHECKS
    assert [job.result for job in jobs] == ["made"] * 6


def test_other_jobs_overtake_a_long_check(queue: JobQueue, folders: JobFolders):
    checks = CountedChecks()
    slow, quick = make_checked_job(folders, checks), make_checked_job(folders, lambda job: lambda job: "quick")
    queue.submit(slow)
    queue.submit(quick)
    wait_for_end(quick, queue)
    assert (quick.result, slow.state) == ("quick", JobState.QUEUED)
    checks.go.set()
    wait_for_end(slow, queue)


def test_a_rejection_is_one_line_and_leaves_nothing(queue: JobQueue, folders: JobFolders):
    def refuse(job: Job) -> Any:
        (job.folder / "video.mp4").write_text("half")
        raise InputError(f"{job.folder}/video.mp4 is too long")

    job = make_checked_job(folders, refuse)
    queue.submit(job)
    wait_for_end(job, queue)
    assert (job.state, job.error) == (JobState.FAILED, f"{A_FILE} is too long")
    assert not job.folder.exists()


def test_a_job_cancelled_during_its_check_ends_after_the_check(queue: JobQueue, folders: JobFolders):
    checks = CountedChecks()
    job = make_checked_job(folders, checks)
    queue.submit(job)
    assert checks.changed.acquire(timeout=PATIENCE)
    assert queue.cancel(job.id)
    assert job.folder.exists()
    checks.go.set()
    wait_for_end(job, queue)
    assert job.state is JobState.CANCELLED
    assert not job.folder.exists()


def test_cancelling_stops_the_work_and_removes_the_folder(queue: JobQueue, folders: JobFolders):
    blocked = Blocked()
    running, waiting = make_job(folders, blocked), make_job(folders, idle)
    queue.submit(running)
    queue.submit(waiting)
    assert blocked.begun.wait(PATIENCE)
    assert queue.cancel(waiting.id)
    assert waiting.state is JobState.CANCELLED
    assert queue.cancel(running.id)
    wait_for_end(running, queue)
    assert running.state is JobState.CANCELLED
    assert not running.folder.exists()
    assert not waiting.folder.exists()
    assert not queue.cancel(running.id)
    assert not queue.cancel("unknown")


def test_a_waiting_job_that_no_page_polls_is_dropped_and_not_run(queue: JobQueue, folders: JobFolders):
    blocked, ran = Blocked(), []
    queue.submit(make_job(folders, blocked))
    assert blocked.begun.wait(PATIENCE)
    left = [make_job(folders, lambda job: ran.append(1)) for _ in range(2)]
    for job in left:
        queue.submit(job)
        job.grace_seconds = -1
    queue.submit(make_job(folders, idle))
    assert [job.state for job in left] == [JobState.CANCELLED, JobState.CANCELLED]
    blocked.go.set()
    assert ran == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("/secret/place/video.mp4 has\n no face"), "holiday.mp4 has no face"),
        (torch.OutOfMemoryError("CUDA"), "out of memory"),
        (DeviceMemoryError("/secret/place: try --batch_size 1"), "out of memory"),
        (NonFiniteError("/secret/place: use --dtype float32"), "no usable images"),
        (OSError(28, "No space left on device"), "disk is full"),
        (OSError(errno.EIO, "Input/output error"), "disk is broken"),
        (OSError(errno.EROFS, "Read-only file system"), "disk cannot be written to"),
        (OSError(13, "Permission denied", "/secret/place"), UNEXPECTED),
        (RuntimeError("/secret/place: a bug"), UNEXPECTED),
    ],
)
def test_a_job_that_fails_leaves_one_line_and_the_next_one_runs(
    queue: JobQueue, folders: JobFolders, error: Exception, line: str
):
    def work(job: Job) -> None:
        raise error

    failed = make_job(folders, work, {Path("/secret/place/video.mp4"): "holiday.mp4"})
    following = make_job(folders, lambda job: 1)
    queue.submit(failed)
    queue.submit(following)
    wait_for_end(following, queue)
    assert failed.state is JobState.FAILED
    assert line in failed.error
    assert "/secret" not in failed.error
    assert not failed.folder.exists()
    assert following.result == 1


def test_a_job_is_recorded_from_its_folder_to_its_end(queue: JobQueue, folders: JobFolders):
    blocked = Blocked()
    job = make_job(folders, blocked)
    assert stored(folders, job).state is JobState.RECEIVING
    queue.submit(job)
    assert blocked.begun.wait(PATIENCE)
    assert stored(folders, job).state is JobState.RUNNING
    blocked.go.set()
    wait_for_end(job, queue)
    assert (stored(folders, job).state, stored(folders, job).has_files) == (JobState.DONE, True)


def stored(folders: JobFolders, job: Job) -> JobRecord:
    record = folders.store.get(job.id)
    assert record is not None
    return record


def submit_durable(queue: JobQueue, folders: JobFolders, number: int) -> Job:
    record = folders.store.get(folders.new("count", "me").name)
    assert record is not None
    job = queue.job_of(record, {"number": number, "names": {"video.mp4": "holiday.mp4"}})
    queue.submit(job)
    return job


def test_durable_jobs_of_a_stopped_program_run_again_in_order_and_others_are_cancelled(tmp_path: Path):
    blocked = Blocked()
    with JobFolders(tmp_path, keep_hours=1) as folders:
        with JobQueue(folders, handlers={"count": blocked}) as queue:
            jobs = [submit_durable(queue, folders, number) for number in range(3)]
            page = make_job(folders, idle)
            queue.submit(page)
            assert blocked.begun.wait(PATIENCE)
        assert [stored(folders, job).state for job in jobs] == [JobState.QUEUED] * 3
        assert (stored(folders, page).state, page.folder.exists()) == (JobState.CANCELLED, False)
    done: list[int] = []

    def work(job: Job) -> dict[str, int]:
        done.append(job.request["number"])
        return {"square": job.request["number"] ** 2}

    with JobFolders(tmp_path, keep_hours=1) as folders:
        ended: list[str] = []
        with JobQueue(folders, handlers={"count": work}, on_end=lambda job: ended.append(job.id)) as queue:
            for job in jobs:
                wait_for_end(job, queue, is_same=False)
        assert done == [0, 1, 2]
        assert ended == [job.id for job in jobs]
        assert [stored(folders, job).result for job in jobs] == [{"square": 0}, {"square": 1}, {"square": 4}]
        assert [stored(folders, job).num_starts for job in jobs] == [1, 1, 1]


def test_a_job_whose_tool_is_stopped_with_the_program_runs_again(tmp_path: Path):
    """A service manager signals ffmpeg too, which may end before this process has handled the signal."""
    is_running = threading.Event()

    def work(job: Job) -> None:
        is_running.set()
        raise InputError("the video was not written") from ToolError("ffmpeg failed")

    with JobFolders(tmp_path, keep_hours=1) as folders:
        with JobQueue(folders, handlers={"count": work}) as queue:
            job = submit_durable(queue, folders, 1)
            assert is_running.wait(PATIENCE)
            queue.interrupt()
        assert (stored(folders, job).state, job.folder.exists()) == (JobState.QUEUED, True)
        with JobQueue(folders, handlers={"count": work}) as queue:
            wait_for_end(job, queue, is_same=False)
        assert (stored(folders, job).state, job.folder.exists()) == (JobState.FAILED, False)


def test_an_ended_job_is_known_for_long_if_only_the_queue_knows_its_files(
    queue: JobQueue, folders: JobFolders, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("latentsync.jobs.queue._KEPT_JOBS", 1)
    jobs = [make_job(folders, work) for work in (idle, lambda job: shutil.rmtree(job.folder), idle, idle)]
    for job in jobs:
        queue.submit(job)
        wait_for_end(job, queue)
    assert [queue.find(job.id) for job in jobs] == [jobs[0], None, *jobs[2:]]


def test_a_job_that_kills_the_program_again_and_again_fails(tmp_path: Path):
    with JobFolders(tmp_path, keep_hours=1) as folders:
        name = folders.new("count").name
        folders.store.enqueue(name, {})
        for _ in range(MAX_STARTS):
            folders.store.start(name)
            folders.store.recover(name)
        with JobQueue(folders, handlers={"count": idle}) as queue:
            assert queue.active() == []
        record = folders.store.get(name)
        assert record is not None
        assert (record.state, record.error) == (JobState.FAILED, KILLED)
        assert not folders.of(name).exists()


def test_names_in_messages_survive_a_restart(tmp_path: Path):
    def fail(job: Job) -> None:
        raise InputError(f"{job.folder / 'video.mp4'} has no face")

    with JobFolders(tmp_path, keep_hours=1) as folders:
        with JobQueue(folders, handlers={"count": Blocked()}) as queue:
            job = submit_durable(queue, folders, 1)
        with JobQueue(folders, handlers={"count": fail}) as queue:
            wait_for_end(job, queue, is_same=False)
        assert stored(folders, job).error == "holiday.mp4 has no face"


def test_closing_stops_running_and_waiting_jobs(folders: JobFolders):
    blocked = Blocked()
    with JobQueue(folders) as queue:
        jobs = [make_job(folders, blocked), make_job(folders, idle)]
        for job in jobs:
            queue.submit(job)
        assert blocked.begun.wait(PATIENCE)
    assert [job.state for job in jobs] == [JobState.CANCELLED, JobState.CANCELLED]
    assert list(folders.jobs.iterdir()) == []
    with pytest.raises(QueueFullError, match="stopped"):
        queue.submit(make_job(folders, idle))
