"""Content of the report in its order: statistics as blocks; plots and contact sheets are drawn on the way."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from preprocess.report.images import draw_distribution, draw_funnel, draw_sheet
from preprocess.report.pages import Block, ClipList, Heading, ImageFile, Paragraph, Table
from preprocess.report.statistics import METRICS, ClipGroup, Funnel, Histogram, Metric, StepStatistics

_BYTES_PER_MB = 1_000_000
_UNKNOWN = "–"
FAILURES = {
    "error": "the step raised an exception",
    "crashed": "the worker process died",
    "timeout": "the time limit per clip was exceeded",
    "memory": "the memory limit per clip was exceeded",
    "unreadable": "the file cannot be read",
}
"""Meaning of the reasons of a failure, which are the same for every step."""


def page_blocks(funnel: Funnel, images: Path) -> Iterator[Block]:
    """Yield the blocks of the page; images are written into the folder ``images``."""
    yield Heading(f"What became of the clips in {funnel.output}", level=1)
    yield from _summary(funnel)
    yield Heading("Funnel")
    yield ImageFile(draw_funnel(funnel.steps, images / "funnel.png"), "Clips kept, rejected and failed at every step")
    yield _funnel_table(funnel.steps)
    yield Paragraph(
        "Kept counts the accepted input clips. Clips out counts the output clips, since one clip may be cut into "
        "several. Hours are those of the clips of known length. Seconds are time in the workers."
    )
    yield from _rejections(funnel.steps)
    yield from _failures(funnel.steps)
    yield from _distributions(funnel.steps, images)
    yield from _examples(funnel.steps, images)


def _summary(funnel: Funnel) -> Iterator[Block]:
    """Yield input and output of the run, and what limits the validity of the numbers."""
    active = [step for step in funnel.steps if not step.skipped]
    if active:
        raw, kept = active[0].incoming, active[-1].kept
        yield Paragraph(
            f"{_count(raw.num_clips)} went in ({_hours(raw)} hours), {_count(kept.num_clips)} came out of the last "
            f"step ({_hours(kept)} hours)."
        )
    skipped = [step.title for step in funnel.steps if step.skipped]
    if skipped:
        yield Paragraph(f"Skipped by --skip_steps: {', '.join(skipped)}. Clips passed these steps unchecked.")
    unfinished = [step.title for step in active if not step.complete]
    if unfinished:
        yield Paragraph(f"Not finished: {', '.join(unfinished)}. Their numbers are preliminary.")
    outdated = [step.title for step in active if step.outdated]
    if outdated:
        yield Paragraph(
            f"Out of date: {', '.join(outdated)}. An earlier step has since run with other settings; run the pipeline "
            "again to update them."
        )
    for step, later in pairwise(active):
        num_waiting = step.kept.num_clips - later.incoming.num_clips
        if num_waiting > 0:
            yield Paragraph(f"Not finished: {_count(num_waiting)} of step {step.name} wait for step {later.name}.")
    if funnel.stale.num_files:
        yield Paragraph(
            f"Older settings left {_count(funnel.stale.num_files, 'file')} "
            f"({funnel.stale.num_bytes / _BYTES_PER_MB:.1f} MB) in the step folders. "
            "They are used again if those settings return; the current clips do not need them."
        )


def _funnel_table(steps: tuple[StepStatistics, ...]) -> Table:
    columns = ["Step", "In", "Kept", "Rejected", "Failed", "Clips out", "Hours out", "Seconds", "Seconds per clip"]
    rows = []
    for step in steps:
        if step.skipped:
            rows.append([f"{step.title} (skipped)", *[_UNKNOWN] * (len(columns) - 1)])
            continue
        num_in = step.incoming.num_clips
        counts = [num_in, step.num_kept, step.num_rejected, step.num_failed, step.kept.num_clips]
        each = f"{step.work_seconds / num_in:.2f}" if num_in else _UNKNOWN
        rows.append([step.title, *map(str, counts), _hours(step.kept), f"{step.work_seconds:.1f}", each])
    return Table(columns, rows, frozenset(columns[1:]))


def _rejections(steps: tuple[StepStatistics, ...]) -> Iterator[Block]:
    yield Heading("Rejected clips")
    rows = [
        [step.title, reason, str(group.num_clips), _hours(group), step.meanings.get(reason, "")]
        for step in steps
        for reason, group in sorted(step.rejected.items(), key=lambda item: (-item[1].num_clips, item[0]))
    ]
    if not rows:
        yield Paragraph("No clip was rejected.")
        return
    yield Table(["Step", "Reason", "Clips", "Hours", "Meaning"], rows, frozenset({"Clips", "Hours"}))


def _failures(steps: tuple[StepStatistics, ...]) -> Iterator[Block]:
    """Yield the failed clips: errors that no step expects, or faults of the program or the machine."""
    yield Heading("Failed clips")
    if not any(step.failed for step in steps):
        yield Paragraph("No clip failed.")
    for step in steps:
        for reason, group in sorted(step.failed.items()):
            meaning = f" ({FAILURES[reason]})" if reason in FAILURES else ""
            yield Heading(f"Step {step.title}: {reason}{meaning}, {_count(group.num_clips)}", level=3)
            yield ClipList([(example.name, example.note) for example in group.examples])
            if group.num_clips > len(group.examples):
                yield Paragraph(f"... and {group.num_clips - len(group.examples)} more.")


def _distributions(steps: tuple[StepStatistics, ...], images: Path) -> Iterator[Block]:
    by_name = {step.name: step for step in steps}
    measured = [
        (metric, by_name[metric.step].distributions[metric.fact])
        for metric in METRICS
        if metric.step in by_name and metric.fact in by_name[metric.step].distributions
    ]
    if not measured:
        return
    yield Heading("Metrics")
    for metric, parts in measured:
        kept, rejected = (parts.get(part) or Histogram(metric.bin_width) for part in ("kept", "rejected"))
        path = images / f"{metric.step}_{metric.fact}.png"
        yield ImageFile(draw_distribution(metric, kept, rejected, path), metric.title)
    yield _distribution_table(measured)


def _distribution_table(measured: list[tuple[Metric, dict[str, Histogram]]]) -> Table:
    columns = ["Metric", "Clips", "Number", "Mean", "5 %", "Median", "95 %"]
    rows = []
    for metric, parts in measured:
        for part, values in sorted(parts.items()):  # kept, rejected
            numbers = [values.mean, *(values.quantile(share) for share in (0.05, 0.5, 0.95))]
            if values.num_values:
                rows.append([metric.title, part, str(values.num_values), *(f"{number:.2f}" for number in numbers)])
    return Table(columns, rows, frozenset(columns[2:]))


def _examples(steps: tuple[StepStatistics, ...], images: Path) -> Iterator[Block]:
    """Yield contact sheets of each reason and of clips that the same step kept, for checking its threshold by eye."""
    active = [step for step in steps if not step.skipped]
    if not active:
        return
    yield Heading("Examples")
    for step in active:
        parts = [(f"rejected, {reason}", group) for reason, group in sorted(step.rejected.items())]
        if parts or step is active[-1]:
            parts.append(("kept", step.kept))
        for title, group in parts:
            if group.examples:
                yield from _sheet(f"Step {step.title}: {title}", group, images)


def _sheet(title: str, group: ClipGroup, images: Path) -> Iterator[Block]:
    file_name = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_").lower()
    yield Heading(title, level=3)
    yield ImageFile(draw_sheet(group.examples, images / f"sheet_{file_name}.png"), title)
    yield ClipList([(example.name, example.note) for example in group.examples])


def _count(number: int, noun: str = "clip") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _hours(group: ClipGroup) -> str:
    if group.num_unknown == group.num_clips and group.num_clips:
        return _UNKNOWN
    return f"{group.video_seconds / 3600:.2f}"
