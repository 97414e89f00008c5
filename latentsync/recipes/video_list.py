"""Lists of lip-sync jobs: CSV files with one job per line, and the summary of a finished list."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.pipelines.lipsync_job import RECORD_SUFFIX, LipsyncOutputs, check_distinct
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.presets import PRESETS
from latentsync.pipelines.video_maker import Outcome, VideoJob
from latentsync.pipelines.voices import Voices
from latentsync.recipes.adapted_weights import CONFIG, LORA_WEIGHTS, RECORD, WEIGHTS
from latentsync.storage.table_file import read_table

COLUMNS = ("video_path", "audio_path", "video_out_path")
PRESET, ADAPTED = "preset", "adapted"
"""Optional columns, and labels of the job."""
FACE, SOUND = "face", "sound"
"""Further optional columns: the face to follow, and the sound of the result."""
OCCLUDER = "occluder"
"""Optional column, and label of the job: masks of things in front of the faces."""


def read_jobs(path: Path, options: LipsyncOptions | None = None, also_read: Sequence[Path] = ()) -> list[VideoJob]:
    """Read the jobs of a CSV file.

    The columns are video_path,audio_path,video_out_path, and optionally preset,adapted,face,sound,occluder. Paths are
    relative to the folder of the file. Several voices are written as ``left=a.wav;right=b.wav`` in audio_path. A job
    that cannot start is listed too, since it does not affect the others.

    Args:
        path: the CSV file.
        options: of all jobs; they determine further outputs, and the face that is followed where the column is empty.
        also_read: files that all jobs read, such as the weights.

    Raises:
        InputError: the file cannot be used, two jobs write to one file, or a job overwrites an input of another.
    """
    options = options or LipsyncOptions()
    lines = read_table(path, COLUMNS, (PRESET, ADAPTED, FACE, SOUND, OCCLUDER))
    for number, line in enumerate(lines, start=1):
        if line[PRESET] and line[PRESET] not in PRESETS:
            choices = ", ".join(PRESETS)
            raise InputError(f"{path}, entry {number}: preset is {line[PRESET]!r}: use {choices}, or leave it empty")
    jobs = []
    for number, line in enumerate(lines, start=1):
        try:
            jobs.append(_job(path.parent, line, options.face))
        except InputError as error:
            raise InputError(f"{path}, entry {number}: {error}") from error
    outputs = []
    for job in jobs:
        with suppress(InputError):  # reported when the job itself is checked
            outputs.append(job_outputs(job, options))
    inputs = [given for job in jobs for given in (job.video, *Voices.of(job.audio, options.face).files())]
    inputs += [Path(occluder) for job in jobs if (occluder := occluder_of(job)) not in (None, AUTO)]
    folders = {folder for job in jobs if (folder := adapted_of(job)) is not None}
    adapted = [folder / name for folder in sorted(folders) for name in (RECORD, CONFIG, WEIGHTS, LORA_WEIGHTS)]
    check_distinct(outputs, [*inputs, path, *also_read, *adapted], str(path))
    return jobs


def preset_of(job: VideoJob) -> str | None:
    """Return the preset that the list names for a job, or None."""
    return job.labels.get(PRESET)


def adapted_of(job: VideoJob) -> Path | None:
    """Return the folder of adapted weights that the list names for a job, or None."""
    return Path(job.labels[ADAPTED]) if ADAPTED in job.labels else None


def occluder_of(job: VideoJob) -> str | None:
    """Return the occluder that the list names for a job, see `LipsyncOptions`, or None."""
    return job.labels.get(OCCLUDER)


def working_order(jobs: Sequence[VideoJob]) -> list[int]:
    """Return the indices of the jobs, those with the same adapted weights one after another."""
    folders = list(dict.fromkeys(map(adapted_of, jobs)))
    return sorted(range(len(jobs)), key=lambda index: folders.index(adapted_of(jobs[index])))


def job_outputs(job: VideoJob, options: LipsyncOptions) -> LipsyncOutputs:
    """Return the files that a job of a list writes.

    Raises:
        InputError: its result is not a video that can be written.
    """
    return LipsyncOutputs.of(job.result, options.compare, with_record=True, timeline=options.timeline)


def summary(outcomes: Sequence[Outcome], path_text: Callable[[Path], str] = str) -> list[str]:
    """Return a table with one line per job and a line of totals.

    Args:
        outcomes: in the order of the list.
        path_text: formats a path.
    """
    rows = [("result", "status", "frames", "synced", "seconds", "")]
    for outcome in outcomes:
        status = "failed" if outcome.error is not None else "was there" if outcome.was_there else "made"
        counts = (str(outcome.values.get("num_frames", "-")), str(outcome.values.get("num_synced", "-")))
        seconds = f"{outcome.values['seconds']:.1f}" if "seconds" in outcome.values else "-"
        rows.append((path_text(outcome.job.result), status, *counts, seconds, outcome.error or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    num_failed = sum(outcome.error is not None for outcome in outcomes)
    num_there = sum(outcome.was_there for outcome in outcomes)
    lines.append(f"{len(outcomes) - num_failed} of {len(outcomes)} results are there, {num_there} from before")
    return lines


def _job(folder: Path, line: Mapping[str, str], face: str) -> VideoJob:
    video, result = folder / line[COLUMNS[0]], folder / line[COLUMNS[2]]
    audio = _speech(folder, line, face)
    record = result.parent / (result.name + RECORD_SUFFIX)
    labels = {PRESET: line[PRESET]} if line[PRESET] else {}
    if line[ADAPTED]:
        labels[ADAPTED] = str(folder / line[ADAPTED])
    if line[OCCLUDER]:
        labels[OCCLUDER] = AUTO if line[OCCLUDER] == AUTO else str(folder / line[OCCLUDER])
    return VideoJob(video, audio, result, record, labels)


def _speech(folder: Path, line: Mapping[str, str], face: str) -> Path | Voices:
    """Return the speech of a line; a file whose name looks like several voices is a file."""
    text, path = line[COLUMNS[1]], folder / line[COLUMNS[1]]
    sound = folder / line[SOUND] if line[SOUND] else None
    if "=" in text and not path.exists():
        if line[FACE]:
            raise InputError(f"{COLUMNS[1]} names people and their speech: leave {FACE} empty")
        return Voices.parse([pair for pair in text.split(";") if pair.strip()], folder, sound)
    if line[FACE] or sound is not None:
        return Voices.of_selected(line[FACE] or face, path, sound)
    return path
