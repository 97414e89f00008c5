"""The state of a job as a line of HTML with a bar; whatever visitors named is escaped."""

from html import escape

from latentsync.app.job import JobState, JobView
from latentsync.app.studio import STAGES
from latentsync.app.visible_text import without_paths

CANCELLED = "cancelled; nothing was kept"
_NEXT = {"faces": ", then painting lips"}


def status_html(view: JobView) -> str:
    """Where a job is, how far, and how long the stage still takes."""
    if view.state is JobState.WAITING:
        return line("waiting", waiting_text(view.ahead))
    if view.state is JobState.RUNNING:
        return line("running", running_text(view), share(view))
    if view.state is JobState.DONE:
        return line("done", f"done in {duration(view.seconds_running)}", 1.0)
    if view.state is JobState.CANCELLED:
        return line("cancelled", CANCELLED)
    return error_html(view.error)


def error_html(message: str) -> str:
    """An error in one line."""
    return line("failed", f"error: {message}")


def line(state: str, text: str, done: float | None = None) -> str:
    """One line of plain text without paths, with a bar below where a share from 0 to 1 is given."""
    bar = "" if done is None else f'<div class="bar"><div style="width:{100 * done:.1f}%"></div></div>'
    shown = escape(without_paths(text))
    return f'<div class="job-status" data-state="{state}" role="status"><span>{shown}</span>{bar}</div>'


def waiting_text(ahead: int) -> str:
    """How many come first."""
    return "starting" if ahead == 0 else f"waiting: {ahead} {'job' if ahead == 1 else 'jobs'} ahead"


def running_text(view: JobView) -> str:
    """Stage, share and time left."""
    progress = view.progress
    if progress is None:
        return "starting"
    text = f"{STAGES.get(progress.stage, progress.stage)}: {100 * share(view):.0f} %"
    if view.seconds_left is not None:
        text += f", about {duration(view.seconds_left)} left"
    return text + _NEXT.get(progress.stage, "")


def share(view: JobView) -> float:
    """Of the present stage, 0 to 1."""
    progress = view.progress
    return 0.0 if progress is None or progress.total <= 0 else min(1.0, max(0.0, progress.done / progress.total))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
