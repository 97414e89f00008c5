"""What the report says, in which order: the figures of a run as blocks, its plots and sheets drawn on the way."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from preprocess.report.images import draw_distribution, draw_funnel, draw_sheet
from preprocess.report.pages import Block, Heading, Names, Paragraph, Picture, Table
from preprocess.report.statistics import QUANTITIES, Bucket, Funnel, Histogram, Quantity, StepNumbers

_MEGABYTE = 1_000_000
_UNKNOWN = "–"
FAILURES = {
    "error": "the step raised",
    "crashed": "the worker died",
    "timeout": "it took longer than one clip may",
    "memory": "it took more memory than one clip may",
    "unreadable": "the file cannot be read",
}
"""What the reasons of a failure mean; they are the same in every step."""


def page_blocks(funnel: Funnel, images: Path) -> Iterator[Block]:
    """The whole page; pictures are written into the folder ``images``."""
    yield Heading(f"What became of the clips in {funnel.output}", level=1)
    yield from _summary(funnel)
    yield Heading("The funnel")
    yield Picture(draw_funnel(funnel.steps, images / "funnel.png"), "Clips kept, rejected and failed at every step")
    yield _funnel_table(funnel.steps)
    yield Paragraph(
        "Kept counts the clips that passed; Clips out is what came of them, since one clip may be cut into several. "
        "Hours are those of the clips whose length is known. Seconds are time in the workers."
    )
    yield from _reasons(funnel.steps)
    yield from _failures(funnel.steps)
    yield from _distributions(funnel.steps, images)
    yield from _sheets(funnel.steps, images)


def _summary(funnel: Funnel) -> Iterator[Block]:
    """First and last numbers, and what a reader must know before believing them."""
    ran = [step for step in funnel.steps if not step.skipped]
    if ran:
        raw, kept = ran[0].incoming, ran[-1].kept
        yield Paragraph(
            f"{_count(raw.num_clips)} went in ({_hours(raw)} hours), {_count(kept.num_clips)} came out of the last "
            f"step ({_hours(kept)} hours)."
        )
    skipped = [step.title for step in funnel.steps if step.skipped]
    if skipped:
        yield Paragraph(f"Left out by --skip_steps: {', '.join(skipped)}. Clips went by without being looked at.")
    unfinished = [step.title for step in ran if not step.complete]
    if unfinished:
        yield Paragraph(f"Not finished: {', '.join(unfinished)}. The figures are those so far.")
    outdated = [step.title for step in ran if step.outdated]
    if outdated:
        yield Paragraph(
            f"Out of date: {', '.join(outdated)}. An earlier step has since run with other settings; run the pipeline "
            "again to bring them up to date."
        )
    for step, later in pairwise(ran):
        missing = step.kept.num_clips - later.incoming.num_clips
        if missing > 0:
            yield Paragraph(f"Not finished: {_count(missing)} of step {step.name} wait for step {later.name}.")
    if funnel.stale.num_files:
        yield Paragraph(
            f"Older settings left {_count(funnel.stale.num_files, 'file')} "
            f"({funnel.stale.num_bytes / _MEGABYTE:.1f} MB) in the step folders. "
            "They are found again if those settings come back; nothing here needs them."
        )


def _funnel_table(steps: tuple[StepNumbers, ...]) -> Table:
    columns = ["Step", "In", "Kept", "Rejected", "Failed", "Clips out", "Hours out", "Seconds", "Seconds a clip"]
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


def _reasons(steps: tuple[StepNumbers, ...]) -> Iterator[Block]:
    yield Heading("Rejected, because ...")
    rows = [
        [step.title, reason, str(bucket.num_clips), _hours(bucket), step.meanings.get(reason, "")]
        for step in steps
        for reason, bucket in sorted(step.rejected.items(), key=lambda item: (-item[1].num_clips, item[0]))
    ]
    if not rows:
        yield Paragraph("No clip was rejected.")
        return
    yield Table(["Step", "Reason", "Clips", "Hours", "Meaning"], rows, frozenset({"Clips", "Hours"}))


def _failures(steps: tuple[StepNumbers, ...]) -> Iterator[Block]:
    """Clips nobody could judge: a fault that no step foresees, or one of the program or the machine."""
    yield Heading("Failed")
    if not any(step.failed for step in steps):
        yield Paragraph("No clip failed.")
    for step in steps:
        for reason, bucket in sorted(step.failed.items()):
            meaning = f" ({FAILURES[reason]})" if reason in FAILURES else ""
            yield Heading(f"Step {step.title}: {reason}{meaning}, {_count(bucket.num_clips)}", level=3)
            yield Names([(example.name, example.note) for example in bucket.examples])
            if bucket.num_clips > len(bucket.examples):
                yield Paragraph(f"... and {bucket.num_clips - len(bucket.examples)} more.")


def _distributions(steps: tuple[StepNumbers, ...], images: Path) -> Iterator[Block]:
    by_name = {step.name: step for step in steps}
    drawn = [
        (quantity, by_name[quantity.step].distributions[quantity.fact])
        for quantity in QUANTITIES
        if quantity.step in by_name and quantity.fact in by_name[quantity.step].distributions
    ]
    if not drawn:
        return
    yield Heading("What was measured")
    for quantity, parts in drawn:
        kept, rejected = (parts.get(part) or Histogram(quantity.bin_width) for part in ("kept", "rejected"))
        yield Picture(
            draw_distribution(quantity, kept, rejected, images / f"{quantity.step}_{quantity.fact}.png"), quantity.title
        )
    yield _distribution_table(drawn)


def _distribution_table(drawn: list[tuple[Quantity, dict[str, Histogram]]]) -> Table:
    columns = ["Measured", "Clips", "Number", "Mean", "5 %", "Median", "95 %"]
    rows = []
    for quantity, parts in drawn:
        for part, values in sorted(parts.items()):  # kept, rejected
            numbers = [values.mean, *(values.quantile(share) for share in (0.05, 0.5, 0.95))]
            if values.num_values:
                rows.append([quantity.title, part, str(values.num_values), *(f"{number:.2f}" for number in numbers)])
    return Table(columns, rows, frozenset(columns[2:]))


def _sheets(steps: tuple[StepNumbers, ...], images: Path) -> Iterator[Block]:
    """Examples of each reason, and of what the same step kept, to judge its threshold by eye."""
    ran = [step for step in steps if not step.skipped]
    if not ran:
        return
    yield Heading("Examples")
    for step in ran:
        parts = [(f"rejected, {reason}", bucket) for reason, bucket in sorted(step.rejected.items())]
        if parts or step is ran[-1]:
            parts.append(("kept", step.kept))
        for title, bucket in parts:
            if bucket.examples:
                yield from _sheet(f"Step {step.title}: {title}", bucket, images)


def _sheet(title: str, bucket: Bucket, images: Path) -> Iterator[Block]:
    file_name = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_").lower()
    yield Heading(title, level=3)
    yield Picture(draw_sheet(bucket.examples, images / f"sheet_{file_name}.png"), title)
    yield Names([(example.name, example.note) for example in bucket.examples])


def _count(number: int, noun: str = "clip") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _hours(bucket: Bucket) -> str:
    if bucket.num_unknown == bucket.num_clips and bucket.num_clips:
        return _UNKNOWN
    return f"{bucket.video_seconds / 3600:.2f}"
