"""Many lip-sync jobs from one list, with one loaded pipeline."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.pipelines.output_files import RECORD_SUFFIX, OutputFiles, check_together
from latentsync.pipelines.video_maker import Outcome, VideoMaker, VideoTask, read_record
from latentsync.storage.table_file import read_table

COLUMNS = ("video_path", "audio_path", "video_out_path")


def read_tasks(path: Path, compare: bool = False, also_read: Sequence[Path] = ()) -> list[VideoTask]:
    """The jobs of a CSV file with the columns video_path,audio_path,video_out_path, relative to the file's folder.

    A job that could not begin alone is still listed, since it does not hinder the others.

    Args:
        path: the file.
        compare: whether source and result side by side are written too.
        also_read: files that all jobs read, such as the weights.

    Raises:
        InputError: the file cannot be used, two jobs write to one file, or a job writes over what another reads.
    """
    tasks = [_task(*(path.parent / line[column] for column in COLUMNS)) for line in read_table(path, COLUMNS, ())]
    outputs = []
    for task in tasks:
        with suppress(InputError):  # an impossible name writes nowhere; the job itself tells so
            outputs.append(task_outputs(task, compare))
    inputs = [given for task in tasks for given in (task.video, task.audio)]
    check_together(outputs, [*inputs, path, *also_read], str(path))
    return tasks


def task_outputs(task: VideoTask, compare: bool) -> OutputFiles:
    """What a job of a list writes.

    Raises:
        InputError: the name of its result is none of a video that can be written.
    """
    return OutputFiles.of(task.result, compare, with_record=True)


def make_list(tasks: Sequence[VideoTask], maker: VideoMaker) -> Iterator[Outcome]:
    """Makes one video after the other; a failure does not stop the rest."""
    yield from (maker.make(task) for task in tasks)


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
    record = result.parent / (result.name + RECORD_SUFFIX)
    return VideoTask(video, audio, result, record)
