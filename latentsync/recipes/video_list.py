"""Many lip-sync jobs from one list, with one loaded pipeline."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from latentsync.errors import InputError
from latentsync.pipelines.video_maker import Outcome, VideoMaker, VideoTask, read_record
from latentsync.table_file import read_table

COLUMNS = ("video_path", "audio_path", "video_out_path")
RECORD_SUFFIX = ".lipsync.json"
"""Added to a result's name: the record of its making."""


def read_tasks(path: Path) -> list[VideoTask]:
    """The jobs of a CSV file with the columns video_path,audio_path,video_out_path, relative to the file's folder.

    Raises:
        InputError: the file cannot be used, two jobs write to one place, or a job writes over an input.
    """
    tasks = [_task(*(path.parent / line[column] for column in COLUMNS)) for line in read_table(path, COLUMNS, ())]
    inputs = {given.resolve() for task in tasks for given in (task.video, task.audio)}
    results: set[Path] = set()
    for task in tasks:
        result = task.result.resolve()
        if result in results:
            raise InputError(f"{path}: two jobs write to {task.result}: give each its own video_out_path")
        if result in inputs:
            raise InputError(f"{path}: {task.result} is also an input: choose another video_out_path")
        results.add(result)
    return tasks


def make_list(tasks: Sequence[VideoTask], maker: VideoMaker) -> Iterator[Outcome]:
    """Makes one video after the other; a failure does not stop the rest."""
    for task in tasks:
        task.record.parent.mkdir(parents=True, exist_ok=True)
        yield maker.make(task)


def summary(outcomes: Sequence[Outcome], shown: Callable[[Path], str] = str) -> list[str]:
    """A table of what became of each job, and a line of totals.

    Args:
        outcomes: in the order of the list.
        shown: how a path is written.
    """
    rows = [("result", "status", "frames", "synced", "seconds", "")]
    for outcome in outcomes:
        record = read_record(outcome.task.record) or {}
        status = "failed" if outcome.error is not None else "was there" if outcome.was_there else "made"
        figures = (str(record.get("num_frames", "-")), str(record.get("num_synced", "-")))
        seconds = f"{record['seconds']:.1f}" if "seconds" in record else "-"
        rows.append((shown(outcome.task.result), status, *figures, seconds, outcome.error or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    num_failed = sum(outcome.error is not None for outcome in outcomes)
    num_there = sum(outcome.was_there for outcome in outcomes)
    lines.append(f"{len(outcomes) - num_failed} of {len(outcomes)} results are there, {num_there} from before")
    return lines


def _task(video: Path, audio: Path, result: Path) -> VideoTask:
    return VideoTask(video, audio, result, result.with_name(result.name + RECORD_SUFFIX))
