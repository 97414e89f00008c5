"""Texts of the page: the status line of a job as HTML, and the summary of a finished job."""

from collections.abc import Sequence
from html import escape

from latentsync.app.sync_comparison import SyncComparison
from latentsync.jobs.job import JobState, JobView
from latentsync.jobs.visible_text import without_paths
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import LipsyncOptions

CANCELLED = "cancelled; nothing was kept"
STAGES = {
    "faces": "finding the face",
    "speaker": "finding who speaks",
    "lips": "generating lips",
    "sync": "measuring the sync",
    "people": "looking for people",
    "footage": "finding the face",
    "clips": "cutting clips",
    "features": "computing features of the clips",
    "before": "measuring before the training",
    "decoder": "training the decoder of the VAE",
    "training": "training",
    "after": "measuring after the training",
}
"""Names of the stages of jobs on the page."""

_NEXT = {"faces": ", then generating lips"}


def status_html(view: JobView) -> str:
    """Return state, progress and remaining time of a job."""
    if view.state is JobState.QUEUED:
        return status_line("waiting", waiting_text(view.ahead))
    if view.state is JobState.RUNNING:
        return status_line("running", running_text(view), progress_fraction(view))
    if view.state is JobState.DONE:
        return status_line("done", f"done in {duration(view.seconds_running)}", 1.0)
    if view.state is JobState.CANCELLED:
        return status_line("cancelled", CANCELLED)
    return error_html(view.error)


def error_html(message: str) -> str:
    """Return an error as one line."""
    return status_line("failed", f"error: {message}")


def status_line(state: str, text: str, done: float | None = None) -> str:
    """Return one line of escaped text without paths, with a progress bar if a fraction from 0 to 1 is given."""
    bar = "" if done is None else f'<div class="bar"><div style="width:{100 * done:.1f}%"></div></div>'
    return f'<div class="job-status" data-state="{state}" role="status"><span>{_escaped(text)}</span>{bar}</div>'


def waiting_text(ahead: int) -> str:
    """Return the number of jobs that run first."""
    return "starting" if ahead == 0 else f"waiting: {ahead} {'job' if ahead == 1 else 'jobs'} ahead"


def running_text(view: JobView) -> str:
    """Return stage, progress and remaining time."""
    progress = view.progress
    if progress is None:
        return "starting"
    text = f"{STAGES.get(progress.stage, progress.stage)}: {100 * progress_fraction(view):.0f} %"
    if view.seconds_left is not None:
        text += f", about {duration(view.seconds_left)} left"
    return text + _NEXT.get(progress.stage, "")


def progress_fraction(view: JobView) -> float:
    """Return the progress of the current stage, from 0 to 1."""
    progress = view.progress
    return 0.0 if progress is None or progress.total <= 0 else min(1.0, max(0.0, progress.done / progress.total))


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def options_line(options: LipsyncOptions, faces: Sequence[str] = ()) -> str:
    """Return the options of a job, from which it can be repeated; `faces` are those of several voices."""
    low, high = options.guidance_interval
    followed = f"faces {' and '.join(faces)}" if len(faces) > 1 else f"face {faces[0] if faces else options.face}"
    return (
        f"steps {options.num_inference_steps}, guidance {options.guidance_scale:g}, seed {options.seed}, "
        f"scheduler {options.scheduler}, timestep spacing {options.timestep_spacing}, guided from {low:g} to {high:g}, "
        f"{followed}, {options.video_fps} frames per second, "
        f"overlap {options.overlap_frames}{', exact' if options.exact else ''}{_scene_options(options)}"
    )


def _scene_options(options: LipsyncOptions) -> str:
    """Return the options of `SceneControls` that differ from their defaults, each after a comma."""
    defaults = LipsyncOptions()
    named = {
        "silence": options.silence if options.silence != defaults.silence else None,
        "sync mode": options.sync_mode if options.sync_mode != defaults.sync_mode else None,
        "largest turn of the head": None if options.max_yaw is None else f"{options.max_yaw:g} degrees",
        "things in front of the face": "found by XSeg" if options.occluder == AUTO else options.occluder,
    }
    return "".join(f", {name} {value}" for name, value in named.items() if value is not None)


def summary_markdown(sync: SyncComparison, lines: list[str]) -> str:
    """Return the sync before and after, and the report of a job, as Markdown."""
    return "\n".join([*_sync_markdown(sync), "", *(f"* {_escaped(line)}" for line in lines)])


def report_markdown(lines: list[str], table: str) -> str:
    """Return the report of an adaptation: its sentences, and its table of metrics."""
    return "\n".join([*(f"* {_escaped(line)}" for line in lines), "", table])


def summary_text(sync: SyncComparison, lines: list[str]) -> str:
    """Return the summary as plain text."""
    return "".join(f"{without_paths(line)}\n" for line in lines) + "\n".join(sync_lines(sync)) + "\n"


def sync_lines(sync: SyncComparison) -> list[str]:
    """Return the sync before and after as lines of text."""
    if sync.before is None or sync.after is None:
        return [f"sync: not measured ({without_paths(sync.reason)})"]
    return [
        f"sync with the new speech, by {sync.scorer}:",
        *(
            f"  {when}: confidence {score.confidence:.2f}, offset {offset_text(score.offset)}"
            for when, score in (("before", sync.before), ("after", sync.after))
        ),
    ]


def offset_text(offset: int) -> str:
    """Format an offset in frames, with a sign unless it is 0."""
    return f"{offset:+d} frames" if offset else "0 frames"


def _sync_markdown(sync: SyncComparison) -> list[str]:
    if sync.before is None or sync.after is None:
        return [f"Sync was not measured: {_escaped(sync.reason)}."]
    rows = [
        f"| {when} | {score.confidence:.2f} | {offset_text(score.offset)} |"
        for when, score in (("the source video", sync.before), ("the result", sync.after))
    ]
    return [
        f"**Sync with the new speech**, measured by {_escaped(sync.scorer)}",
        "",
        "| | confidence | offset |",
        "|---|---|---|",
        *rows,
    ]


def _escaped(text: str) -> str:
    return escape(without_paths(text))
