"""Reads the manifests of an output folder into the figures of a report, one row at a time."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from latentsync.errors import InputError
from preprocess.report.statistics import QUANTITIES, Bucket, Example, Funnel, Histogram, StaleFiles, StepNumbers
from preprocess.step import Clip, JsonValue
from preprocess.steps.clip_files import FPS
from preprocess.store.keys import FIRST_CHAIN, chain_key
from preprocess.store.manifest import Manifest
from preprocess.store.records import Row, StepRecord

NUM_EXAMPLES = 6
"""Clips shown for each reason."""
NUM_FAILED_EXAMPLES = 20
"""Errors listed for each kind of failure."""
INPUT_REASONS = {"duplicate": "another raw file has the same content; that one is processed"}
"""Reasons of step 1 that the runner gives, not the step."""


def read_funnel(output: Path) -> Funnel:
    """Everything the report says of the run in ``output``; works while a run is under way.

    Memory is bounded: sums, histograms, and a few examples of each kind. Rows come as good as shuffled, so the first
    few of a kind are a fair sample.

    Raises:
        InputError: there is no run in the folder.
    """
    manifests = Manifest.existing(output)
    if not any(manifest.step for manifest in manifests):
        raise InputError(f"{output} holds no run of the pipeline: give the folder that was its --output_dir")
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


def _read_step(manifest: Manifest, record: StepRecord, chain_before: str) -> StepNumbers:
    numbers = StepNumbers(
        record.number,
        record.name,
        record.folder,
        meanings={**INPUT_REASONS, **record.reasons},
        skipped=record.skipped,
        complete=manifest.is_complete,
    )
    for row in manifest.iter_rows():
        _count(numbers, row)
        # Every row that went through the step knows its settings; those that went into no step have none.
        numbers.outdated |= bool(row.settings) and chain_key(chain_before, row.settings) != record.chain
    return numbers


def _count(numbers: StepNumbers, row: Row) -> None:
    seconds = _length(row.facts)
    if seconds is None and len(row.outputs) == 1:  # step 1, which measures it, or step 2, which keeps it
        seconds = _length(row.outputs[0].facts)
    numbers.incoming.add_length(seconds)
    numbers.work_seconds += row.seconds
    if row.status == "done":
        numbers.num_kept += 1
        for clip in row.outputs:
            _count_kept(numbers, clip)
        return
    is_failed = row.status == "failed"
    buckets, num_examples = (numbers.failed, NUM_FAILED_EXAMPLES) if is_failed else (numbers.rejected, NUM_EXAMPLES)
    bucket = buckets.setdefault(row.reason, Bucket())
    bucket.add_length(seconds)
    if len(bucket.examples) < num_examples:
        bucket.examples.append(Example(row.name, row.input_path, row.detail))
    if not is_failed:
        _measure(numbers, row.facts, "rejected")


def _count_kept(numbers: StepNumbers, clip: Clip) -> None:
    numbers.kept.add_length(_length(clip.facts))
    if len(numbers.kept.examples) < NUM_EXAMPLES:
        numbers.kept.examples.append(Example(clip.name, clip.path, _measured(numbers.name, clip.facts)))
    _measure(numbers, clip.facts, "kept")


def _measure(numbers: StepNumbers, facts: Mapping[str, JsonValue], part: str) -> None:
    for quantity in QUANTITIES:
        value = facts.get(quantity.fact)
        if quantity.step == numbers.name and isinstance(value, int | float):
            parts = numbers.distributions.setdefault(quantity.fact, {})
            parts.setdefault(part, Histogram(quantity.bin_width)).add(value)


def _measured(step: str, facts: Mapping[str, JsonValue]) -> str:
    """What the step measured of a clip, on one line."""
    found = {quantity.fact: facts.get(quantity.fact) for quantity in QUANTITIES if quantity.step == step}
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float))


def _length(facts: Mapping[str, JsonValue]) -> float | None:
    """Seconds of a clip by its facts: frames once it is resampled, before that what step 1 found."""
    num_frames, duration_s = facts.get("num_frames"), facts.get("duration_s")
    if isinstance(num_frames, int | float):
        return float(num_frames / FPS)
    return float(duration_s) if isinstance(duration_s, int | float) else None


def count_stale(manifests: Sequence[Manifest], output: Path) -> StaleFiles:
    """Files of clips (not lists beside them) that no current row of the manifests names.

    The names are compared in a temporary database, which SQLite moves to disk when it grows.
    """
    num_files, num_bytes = 0, 0.0
    for manifest in manifests:
        step = manifest.step
        if step is None or step.folder is None:
            continue
        folder = output / step.folder
        database = sqlite3.connect("")
        try:
            database.execute("CREATE TABLE current (path BLOB PRIMARY KEY) WITHOUT ROWID")
            names = ((os.fsencode(path),) for path in _current_files(manifest))
            database.executemany("INSERT OR IGNORE INTO current VALUES (?)", names)
            for entry in _clip_files(folder):
                query = "SELECT 1 FROM current WHERE path = ?"
                if database.execute(query, (os.fsencode(os.path.abspath(entry.path)),)).fetchone() is None:
                    stat = entry.stat(follow_symlinks=False)
                    num_files += 1
                    num_bytes += stat.st_size / max(1, stat.st_nlink)
        finally:
            database.close()
    return StaleFiles(num_files, round(num_bytes))


def _current_files(manifest: Manifest) -> Iterator[Path]:
    for row in manifest.iter_rows(status="done"):
        for product in row.products:
            yield product.clip.path
            yield from (Path(str(product.clip.facts[name])) for name in product.sidecars)


def _clip_files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Files in the two-digit folders of a step's folder."""
    try:
        groups = [entry.path for entry in os.scandir(folder) if len(entry.name) == 2 and entry.is_dir()]
    except OSError:  # a step that kept nothing has no folder
        return
    for group in groups:
        with os.scandir(group) as entries:
            yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))
