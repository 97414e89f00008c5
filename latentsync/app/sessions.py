"""What the page's events do: take files in, start, follow and stop jobs. Knows nothing of gradio."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.app.error_line import error_line
from latentsync.app.job import Job, JobView, Work
from latentsync.app.job_folders import JobFolders
from latentsync.app.job_queue import JobQueue
from latentsync.app.studio import Studio
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions

POLL_SECONDS = 0.25
"""How often a page looks at its job."""


@dataclass
class Sessions:
    """The events of all pages.

    Attributes:
        studio: does the work.
        queue: runs it.
        folders: keeps the files.
        grace_seconds: a job that no page has looked at for so long is stopped.
    """

    studio: Studio
    queue: JobQueue
    folders: JobFolders
    grace_seconds: float = 30.0

    def start_lipsync(self, video: Path | None, speech: Path | None, options: LipsyncOptions) -> Job:
        """Puts a job into the queue, where its files are checked before it may run.

        Raises:
            InputError: a file is missing, or the queue is full.
        """
        given = {"video": _given(video, "video"), "speech": _given(speech, "speech")}

        def prepare(job: Job) -> Work:
            taken = {stem: self.folders.adopt(path, job.folder, stem) for stem, path in given.items()}
            self.studio.check(taken["video"], taken["speech"], options)
            return self.studio.lipsync(taken["video"], taken["speech"], options)

        return self._submit(prepare, given)

    def start_people(self, video: Path | None) -> Job:
        """As `start_lipsync`, for a job that looks for people."""
        given = _given(video, "video")

        def prepare(job: Job) -> Work:
            taken = self.folders.adopt(given, job.folder, "video")
            self.studio.limits.check_video(taken)
            return self.studio.people(taken)

        return self._submit(prepare, {"video": given})

    async def follow(self, job: Job) -> AsyncGenerator[JobView, None]:
        """What there is to show of a job, whenever that changes, until it is over."""
        last: JobView | None = None
        while True:
            view = self.queue.view(job)
            if last is None or _shown(view) != _shown(last):
                yield view
                last = view
            if view.state.is_over:
                return
            await asyncio.sleep(POLL_SECONDS)

    def _submit(self, prepare: Callable[[Job], Work], given: dict[str, Path]) -> Job:
        try:
            folder = self.folders.new()
        except OSError as error:
            raise InputError(error_line(error, {})) from error
        taken = {self.folders.adopted_path(path, folder, stem): path.name for stem, path in given.items()}
        names = {**taken, **{path: path.name for path in given.values()}, folder: "the job's folder"}
        job = Job(folder.name, folder, None, prepare, names, self.grace_seconds)
        self.queue.submit(job)
        return job


def _given(path: Path | None, what: str) -> Path:
    if path is None:
        raise InputError(f"there is no {what} yet: upload one, or use the example")
    return path


def _shown(view: JobView) -> JobView:
    """The view without what changes by itself, so that nothing is sent while nothing happens."""
    return replace(
        view, seconds_running=0.0, seconds_left=None if view.seconds_left is None else round(view.seconds_left)
    )
