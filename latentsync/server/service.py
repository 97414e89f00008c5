"""The service without HTTP: jobs are received, checked, queued, followed, cancelled and removed."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from latentsync.errors import InputError
from latentsync.jobs.folders import JobFolders, stored_name
from latentsync.jobs.job import Job, JobState, StageProgress
from latentsync.jobs.queue import JobQueue, QueueFullError
from latentsync.jobs.store import JobRecord
from latentsync.server.api_error import ApiError
from latentsync.server.api_keys import ApiClient, ApiKeys
from latentsync.server.download import download
from latentsync.server.dub_request import INPUTS, DubRequest
from latentsync.server.form_receiver import ReceivedForm
from latentsync.server.input_roots import InputRoots
from latentsync.server.lipsync_work import INPUT, RESULT, Work
from latentsync.server.metrics import Metrics
from latentsync.server.outbound import Outbound
from latentsync.server.webhooks import Webhooks

KIND = "lipsync"
RETRY_AFTER_S = 30
"""Suggested to clients when the queue is full."""

_SECONDS_PER_HOUR = 3600.0
_MEGABYTE = 1024 * 1024
_SHARES = {"faces": (0.0, 0.2), "speaker": (0.2, 0.3), "lips": (0.3, 1.0)}
"""Part of the whole progress that each stage of the pipeline takes."""


@dataclass
class Service:
    """Jobs of all clients.

    Attributes:
        work: does the work of a job.
        folders: files and records of the jobs.
        queue: runs the jobs.
        keys: the clients; None: one client without a name.
        outbound: fetches inputs and sends webhooks.
        roots: folders of inputs that are named by path.
        metrics: counts the jobs.
    """

    work: Work
    folders: JobFolders
    queue: JobQueue
    keys: ApiKeys | None = None
    outbound: Outbound = field(default_factory=Outbound)
    roots: InputRoots = field(default_factory=InputRoots)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def max_file_bytes(self) -> int:
        """Maximum size of an input."""
        return int(self.work.limits.max_megabytes * _MEGABYTE)

    def new(self, client: ApiClient) -> Path:
        """Create the folder of a job that is about to be received.

        Raises:
            ApiError: 429 if the client has too many jobs, or the queue is full.
        """
        store = self.folders.store
        if len(self.queue.active()) > self.queue.max_waiting:
            raise _too_many("the queue is full", RETRY_AFTER_S)
        if store.num_created(client.name, time.time() - _SECONDS_PER_HOUR) >= client.max_per_hour:
            raise _too_many(f"this key may send {client.max_per_hour} jobs per hour", int(_SECONDS_PER_HOUR / 10))
        folder = self.folders.new(KIND, client.name)
        if store.num_unfinished(client.name) > client.max_queued:
            self.folders.discard(folder)
            raise _too_many(f"this key may have {client.max_queued} jobs at a time", RETRY_AFTER_S)
        (folder / INPUT).mkdir()
        return folder

    def prepare(self, folder: Path, form: ReceivedForm) -> dict[str, Any]:
        """Bring the inputs of a job into its folder and check them; return the request to submit.

        Raises:
            ApiError: an input that is named by its path is not there.
            LatentSyncError: a field, an option or an input cannot be used.
            OSError: an input cannot be stored.
        """
        request = DubRequest.of(form, self.work.defaults)
        if request.webhook_url is not None:
            if self.keys is None:
                raise InputError("webhook_url requires a server with --keys, since the key signs the message")
            self.outbound.check(request.webhook_url)
        files = {name: file.path for name, file in form.files.items()}
        names = {name: file.name for name, file in form.files.items()}
        for name in INPUTS:
            if name in request.sources:
                files[name], names[name] = self._fetch(name, *request.sources[name], folder / INPUT)
        options = replace(self.work.defaults, **request.options)
        try:
            self.work.check(files["video"], files["audio"], options)
        except InputError as error:
            raise InputError(_with_names(str(error), files, names)) from error
        stored = {name: f"{INPUT}/{path.name}" for name, path in files.items()}
        return {
            **stored,
            "names": {stored[name]: names[name] for name in INPUTS},
            "options": dict(request.options),
            "webhook_url": request.webhook_url,
        }

    def submit(self, folder: Path, request: Mapping[str, Any]) -> None:
        """Append a prepared job to the queue.

        Raises:
            ApiError: 429 if the queue is full; the folder is removed.
        """
        record = self.folders.store.get(folder.name)
        assert record is not None, "the folder is not of a new job"
        try:
            self.queue.submit(self.queue.job_of(record, request))
        except QueueFullError as error:
            raise _too_many(str(error), RETRY_AFTER_S) from error

    def find(self, job_id: str, owner: str) -> JobRecord:
        """Return a job of an owner.

        Raises:
            ApiError: 404 if it is unknown, or belongs to another owner.
        """
        record = self.folders.store.get(job_id)
        if record is None or record.owner != owner or record.kind != KIND or record.state is JobState.RECEIVING:
            raise ApiError(404, "there is no such job")
        return record

    def result(self, job_id: str, owner: str) -> Path:
        """Return the result of a job.

        Raises:
            ApiError: 404 if the job is unknown, 409 if it is not done, 410 if its files were removed.
        """
        record = self.find(job_id, owner)
        if record.state is not JobState.DONE:
            raise ApiError(409, f"the job is {record.state.value}" + (f": {record.error}" if record.error else ""))
        path = self.folders.of(record.id) / RESULT
        if not record.has_files or not path.is_file():
            raise ApiError(410, "the result has expired")
        return path

    def delete(self, job_id: str, owner: str) -> JobRecord:
        """Cancel a job, or remove the files of one that has ended."""
        record = self.find(job_id, owner)
        if record.state.is_over:
            self.folders.remove(self.folders.of(record.id))
        else:
            self.queue.cancel(record.id)
        return self.find(job_id, owner)

    def view(self, record: JobRecord) -> dict[str, Any]:
        """Return what a client learns about a job."""
        job = None if record.state.is_over else self.queue.find(record.id)
        view = None if job is None else self.queue.view(job)
        is_done = record.state is JobState.DONE
        return {
            "id": record.id,
            "state": record.state.value,
            "queue_position": view.ahead if view is not None and record.state is JobState.QUEUED else None,
            "progress": 1.0 if is_done else _whole_progress(view.progress if view is not None else None),
            "stage": view.progress.stage if view is not None and view.progress is not None else None,
            "error": record.error or None,
            "created": _time(record.created),
            "started": _time(record.started),
            "ended": _time(record.ended),
            "result": self._result_view(record) if is_done else None,
        }

    def ended(self, job: Job) -> None:
        """Count a job, and remove the inputs of one that is done."""
        self.metrics.add(job)
        if job.state is JobState.DONE:
            shutil.rmtree(job.folder / INPUT, ignore_errors=True)

    def _result_view(self, record: JobRecord) -> dict[str, Any]:
        path = self.folders.of(record.id) / RESULT
        size = path.stat().st_size if record.has_files and path.is_file() else None
        return {
            "url": None if size is None else f"/v1/jobs/{record.id}/result",
            "bytes": size,
            **(record.result or {}),
        }

    def _fetch(self, name: str, how: str, value: str, folder: Path) -> tuple[Path, str]:
        given = value.partition("?")[0].rpartition("/")[2]
        target = folder / stored_name(name, given)
        if how == "url":
            download(self.outbound, value, target, self.max_file_bytes)
        else:
            self.roots.copy(f"{name}_path", value, target, self.max_file_bytes)
        return target, given[:255] or name


@contextmanager
def running(
    work: Work,
    folders: JobFolders,
    max_queued: int,
    keys: ApiKeys | None = None,
    outbound: Outbound | None = None,
    roots: InputRoots | None = None,
) -> Iterator[Service]:
    """Run jobs while the block runs; then the running one stops, and waits for the next start with the others.

    Args:
        work: does the work of a job.
        folders: files and records of the jobs; opened here.
        max_queued: maximum number of waiting jobs.
        keys, outbound, roots: see `Service`.

    Raises:
        InputError: the folder of the jobs cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(folders)
        outbound = outbound or Outbound()

        def ended(job: Job) -> None:
            service.ended(job)
            webhooks.announce(job.id)

        queue = JobQueue(folders, max_queued, {KIND: work}, ended)
        service = Service(work, folders, queue, keys, outbound, roots or InputRoots())
        webhooks = Webhooks(folders.store, keys, outbound, service.view)
        stack.enter_context(webhooks)
        stack.enter_context(queue)
        yield service


def _too_many(line: str, retry_after_s: int) -> ApiError:
    return ApiError(429, line, {"Retry-After": str(retry_after_s)})


def _with_names(text: str, files: Mapping[str, Path], names: Mapping[str, str]) -> str:
    for name, path in files.items():
        text = text.replace(str(path), names[name])
    return text


def _whole_progress(progress: StageProgress | None) -> float:
    """Return the progress of a job in all of its stages, 0 to 1."""
    if progress is None or progress.stage not in _SHARES or progress.total <= 0:
        return 0.0
    start, stop = _SHARES[progress.stage]
    return round(start + (stop - start) * min(1.0, progress.done / progress.total), 4)


def _time(seconds: float | None) -> str | None:
    """Format a time in UTC as in ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
