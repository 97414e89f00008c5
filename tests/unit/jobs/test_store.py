import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentsync.jobs.job import JobState
from latentsync.jobs.store import JobRecord, JobStore, JobStoreError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite")
    yield store
    store.close()


def get(store: JobStore, job_id: str) -> JobRecord:
    record = store.get(job_id)
    assert record is not None
    return record


def enqueue(store: JobStore, *ids: str, owner: str = "me") -> None:
    for job_id in ids:
        store.create(job_id, "lipsync", owner)
        assert store.enqueue(job_id, {"video": job_id})


def test_a_job_passes_its_states_once(store: JobStore):
    enqueue(store, "a")
    assert not store.enqueue("a", {})
    assert store.start("a")
    assert not store.start("a")
    assert store.end("a", JobState.DONE, {"seconds": 2})
    for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        assert not store.end("a", state, error="again")
    record = get(store, "a")
    assert (record.state, record.result, record.error, record.request) == (
        JobState.DONE, {"seconds": 2}, "", {"video": "a"},
    )  # fmt: skip
    assert record.started is not None
    assert record.ended is not None
    assert record.created <= record.started <= record.ended


def test_an_interrupted_job_keeps_its_place_and_only_a_kill_counts_as_a_start(store: JobStore):
    enqueue(store, "a", "b")
    store.start("a")
    assert store.interrupt("a")
    assert [record.id for record in store.unfinished()] == ["a", "b"]
    assert get(store, "a").num_starts == 0
    store.start("a")
    assert store.recover("a")
    assert get(store, "a").num_starts == 1


def test_many_threads_end_a_job_once(store: JobStore):
    enqueue(store, "a")
    ended: list[bool] = []
    threads = [threading.Thread(target=lambda: ended.append(store.end("a", JobState.DONE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [False] * 7 + [True]


def test_owners_are_counted_apart(store: JobStore):
    enqueue(store, "a", "b", owner="anna")
    enqueue(store, "c", owner="ben")
    store.end("a", JobState.CANCELLED)
    assert (store.num_unfinished("anna"), store.num_unfinished("ben"), store.num_unfinished("'")) == (1, 1, 0)
    assert (store.num_created("anna", 0), store.num_created("anna", 1e12)) == (2, 0)
    assert store.counts() == {JobState.QUEUED: 2, JobState.CANCELLED: 1}


def test_ends_are_announced_once(store: JobStore):
    enqueue(store, "a", "b")
    store.end("b", JobState.FAILED, error="no face")
    store.end("a", JobState.DONE)
    assert [record.id for record in store.unannounced()] == ["b", "a"]
    store.announced("b")
    assert [record.id for record in store.unannounced()] == ["a"]


def test_a_closed_store_changes_nothing_and_says_so(tmp_path: Path):
    store = JobStore(tmp_path / "jobs.sqlite")
    enqueue(store, "a")
    store.close()
    assert not store.end("a", JobState.DONE)
    with pytest.raises(JobStoreError, match="being stopped"):
        store.get("a")
    reopened = JobStore(tmp_path / "jobs.sqlite")
    assert get(reopened, "a").state is JobState.QUEUED
    reopened.close()


def test_an_error_of_the_database_is_one_line(store: JobStore, tmp_path: Path):
    with sqlite3.connect(tmp_path / "jobs.sqlite") as other:
        other.execute("DROP TABLE jobs")
    other.close()
    with pytest.raises(JobStoreError, match="cannot be written"):
        store.create("a", "lipsync")
    with pytest.raises(JobStoreError, match="cannot be read"):
        store.get("a")


_WRITER = """
import sys
from pathlib import Path
from latentsync.jobs.store import JobStore
store = JobStore(Path(sys.argv[1]))
for number in range(10 ** 6):
    store.create(str(number), "lipsync")
    store.enqueue(str(number), {"number": number})
    print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_everything_that_was_reported_survives_a_kill(tmp_path: Path):
    path = tmp_path / "jobs.sqlite"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
    store = JobStore(path)
    numbers = [record.request["number"] for record in store.unfinished()]
    store.close()
    assert numbers[: last + 1] == list(range(last + 1))
    assert len(numbers) <= last + 2
