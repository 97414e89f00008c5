"""Collect the statistics of a run from its manifests, one row at a time, and count the files of older settings."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from latentsync.errors import InputError
from preprocess.report.statistics import METRICS, ClipGroup, Example, Funnel, Histogram, StaleFiles, StepStatistics
from preprocess.step import Clip, JsonValue
from preprocess.steps.clip_files import FPS
from preprocess.store.keys import FIRST_CHAIN, chain_key
from preprocess.store.manifest import Manifest
from preprocess.store.records import Row, StepRecord

NUM_EXAMPLES = 6
"""Number of clips shown for each reason."""
NUM_FAILED_EXAMPLES = 20
"""Number of errors listed for each kind of failure."""
INPUT_REASONS = {"duplicate": "another raw file has the same content; that one is processed"}
"""Reasons of step 1 that the runner gives, not the step."""


def read_funnel(output: Path) -> Funnel:
    """Return the statistics of the run in ``output``, finished or in progress.

    Memory is bounded: sums, histograms, and a few examples of each kind. The order of the rows is random, so the first
    rows of a kind are an unbiased sample.

    Raises:
        InputError: the folder contains no run.
    """
    manifests = Manifest.existing(output)
    if not any(manifest.step for manifest in manifests):
        raise InputError(f"{output} contains no run of the pipeline: give the folder that was its --output_dir")
    steps, chain = [], FIRST_CHAIN
    try:
        for manifest in manifests:
            record = manifest.step
            if record is not None:
                steps.append(_read_step(manifest, record, chain))
                chain = record.chain
        return Funnel(output, tuple(steps), count_stale(manifests, output))
    finally:
        for manifest in manifests:
            manifest.close()


def _read_step(manifest: Manifest, record: StepRecord, chain_before: str) -> StepStatistics:
    statistics = StepStatistics(
        record.number,
        record.name,
        record.folder,
        meanings={**INPUT_REASONS, **record.reasons},
        skipped=record.skipped,
        complete=manifest.is_complete,
    )
    for row in manifest.iter_rows():
        _count(statistics, row)
        # Rows of raw files that no step processed, such as duplicates, have no settings key.
        statistics.outdated |= bool(row.settings) and chain_key(chain_before, row.settings) != record.chain
    return statistics


def _count(statistics: StepStatistics, row: Row) -> None:
    seconds = _length_s(row.facts)
    if seconds is None and len(row.outputs) == 1:  # step 1 measures the length, step 2 keeps it
        seconds = _length_s(row.outputs[0].facts)
    statistics.incoming.add_length(seconds)
    statistics.work_seconds += row.seconds
    if row.status == "done":
        statistics.num_kept += 1
        for clip in row.outputs:
            _count_kept(statistics, clip)
        return
    is_failed = row.status == "failed"
    groups, num_examples = (
        (statistics.failed, NUM_FAILED_EXAMPLES) if is_failed else (statistics.rejected, NUM_EXAMPLES)
    )
    group = groups.setdefault(row.reason, ClipGroup())
    group.add_length(seconds)
    if len(group.examples) < num_examples:
        group.examples.append(Example(row.name, row.input_path, row.detail))
    if not is_failed:
        _add_metrics(statistics, row.facts, "rejected")


def _count_kept(statistics: StepStatistics, clip: Clip) -> None:
    statistics.kept.add_length(_length_s(clip.facts))
    if len(statistics.kept.examples) < NUM_EXAMPLES:
        statistics.kept.examples.append(Example(clip.name, clip.path, _describe_metrics(statistics.name, clip.facts)))
    _add_metrics(statistics, clip.facts, "kept")


def _add_metrics(statistics: StepStatistics, facts: Mapping[str, JsonValue], part: str) -> None:
    for metric in METRICS:
        value = facts.get(metric.fact)
        if metric.step == statistics.name and isinstance(value, int | float):
            parts = statistics.distributions.setdefault(metric.fact, {})
            parts.setdefault(part, Histogram(metric.bin_width)).add(value)


def _describe_metrics(step: str, facts: Mapping[str, JsonValue]) -> str:
    """Return the metrics of a clip that a step measured, on one line."""
    found = {metric.fact: facts.get(metric.fact) for metric in METRICS if metric.step == step}
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float))


def _length_s(facts: Mapping[str, JsonValue]) -> float | None:
    """Return the length of a clip in seconds: from its number of frames, or before step 2 as step 1 measured it."""
    num_frames, duration_s = facts.get("num_frames"), facts.get("duration_s")
    if isinstance(num_frames, int | float):
        return float(num_frames / FPS)
    return float(duration_s) if isinstance(duration_s, int | float) else None


def count_stale(manifests: Sequence[Manifest], output: Path) -> StaleFiles:
    """Count the clip files in the step folders that no current row names; nothing is removed.

    The names are compared in a temporary database, which SQLite moves to disk when it grows.
    """
    num_files, num_bytes = 0, 0.0
    for manifest in manifests:
        step = manifest.step
        if step is None or step.folder is None:
            continue
        with closing(sqlite3.connect("")) as database:
            database.execute("CREATE TABLE current (path BLOB PRIMARY KEY) WITHOUT ROWID")
            names = ((os.fsencode(path),) for path in _current_files(manifest))
            database.executemany("INSERT OR IGNORE INTO current VALUES (?)", names)
            for entry in _clip_files(output / step.folder):
                query = "SELECT 1 FROM current WHERE path = ?"
                if database.execute(query, (os.fsencode(os.path.abspath(entry.path)),)).fetchone() is None:
                    stat = entry.stat(follow_symlinks=False)
                    num_files += 1
                    num_bytes += stat.st_size / max(1, stat.st_nlink)
    return StaleFiles(num_files, round(num_bytes))


def _current_files(manifest: Manifest) -> Iterator[Path]:
    for row in manifest.iter_rows(status="done"):
        for product in row.products:
            yield product.clip.path
            yield from (Path(str(product.clip.facts[name])) for name in product.sidecars)


def _clip_files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield the files in the two-digit subfolders of a step's folder; the lists beside them are no clips."""
    try:
        groups = [entry.path for entry in os.scandir(folder) if len(entry.name) == 2 and entry.is_dir()]
    except OSError:  # a step that kept no clip has no folder
        return
    for group in groups:
        with os.scandir(group) as entries:
            yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))
