"""What a run would do: its configuration, its steps and their weights, and what is recorded already."""

from collections.abc import Sequence
from pathlib import Path

from preprocess.manifest import Manifest, is_manifest
from preprocess.plan import PlannedStep, find_weights
from preprocess.records import Counts

_BYTES_PER_MB = 1e6


def describe_plan(plan: Sequence[PlannedStep], numbers: Sequence[int], root: Path) -> list[str]:
    """A line for each step; nothing is written.

    Args:
        plan: all steps, from the first.
        numbers: which of them would be run.
        root: the output folder.
    """
    lines = []
    for planned in plan:
        if planned.step.number in numbers:
            what = "skipped: clips pass" if planned.is_skipped else _describe_weights(planned)
            lines.append(f"step {planned.title}: {what}; {_describe_recorded(planned, root)}")
    return lines


def _describe_weights(planned: PlannedStep) -> str:
    weights = find_weights(planned.step)
    files = [f"{path} ({path.stat().st_size / _BYTES_PER_MB:.0f} MB)" for path in weights]
    return f"weights {', '.join(files)}" if files else "no weights"


def _describe_recorded(planned: PlannedStep, root: Path) -> str:
    path = planned.manifest_path(root)
    if not is_manifest(path):
        return "nothing recorded"
    with Manifest(path, root) as manifest:
        counts: Counts = manifest.counts(planned.chain)
    if counts.num_rows == 0:
        return "nothing recorded with these settings"
    return f"recorded: {counts.num_done} done, {counts.num_rejected} rejected, {counts.num_failed} failed"
