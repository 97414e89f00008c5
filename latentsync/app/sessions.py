"""What the page's events do: take files in, start, follow and stop jobs. Knows nothing of gradio."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentsync.app.error_line import error_line
from latentsync.app.job import Job, JobView
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
        """Checks the files and puts the job into the queue.

        Raises:
            InputError: something is missing, over the limits or unusable, or the queue is full.
        """
        given_video = _given(video, "video")
        given_speech = _given(speech, "speech")

        def prepare(folder: Path) -> Callable[[Job], Any]:
            taken = [
                self.folders.adopt(given_video, folder, "video"),
                self.folders.adopt(given_speech, folder, "speech"),
            ]
            self.studio.check(taken[0], taken[1], options)
            return self.studio.lipsync(taken[0], taken[1], options)

        return self._submit(prepare, {"video": given_video, "speech": given_speech})

    def start_people(self, video: Path | None) -> Job:
        """As `start_lipsync`, for a job that looks for people."""
        given = _given(video, "video")

        def prepare(folder: Path) -> Callable[[Job], Any]:
            taken = self.folders.adopt(given, folder, "video")
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

    def _submit(self, prepare: Callable[[Path], Callable[[Job], Any]], given: dict[str, Path]) -> Job:
        folder = self.folders.new()
        try:
            work = prepare(folder)
        except Exception as error:  # whatever it is, the folder goes and the visitor gets one line
            line = error_line(error, self._names(folder, given))
            self.folders.remove(folder)
            raise InputError(line) from error
        job = Job(folder.name, folder, work, self._names(folder, given), self.grace_seconds)
        self.queue.submit(job)
        return job

    def _names(self, folder: Path, given: dict[str, Path]) -> dict[Path, str]:
        """What visitors call the files of a job."""
        taken = {path: given[path.stem].name for path in folder.iterdir() if path.stem in given}
        return {**taken, **{path: path.name for path in given.values()}, folder: "the job's folder"}


def _given(path: Path | None, what: str) -> Path:
    if path is None:
        raise InputError(f"there is no {what} yet: upload one, or use the example")
    return path


def _shown(view: JobView) -> JobView:
    """The view without what changes by itself, so that nothing is sent while nothing happens."""
    return replace(
        view, seconds_running=0.0, seconds_left=None if view.seconds_left is None else round(view.seconds_left)
    )
