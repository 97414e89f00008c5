"""The steps of a run with the keys of their settings, and their description for a dry run."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import CheckpointError, InputError
from preprocess.step import Done, Output, Step
from preprocess.step_work import FinishedClip, StepWork, Task
from preprocess.store.keys import FIRST_CHAIN, chain_key, hash_of, plain_config, settings_key
from preprocess.store.manifest import Manifest, is_manifest, manifest_path
from preprocess.store.records import Counts, StepRecord

_NUMBERS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)
_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run.

    Attributes:
        step: the step.
        is_skipped: True if clips pass through unchanged; they are hard-linked into the folder of the step.
        settings: key of its settings.
        chain: key of all settings up to it.
    """

    step: Step
    is_skipped: bool
    settings: str
    chain: str

    @property
    def title(self) -> str:
        """Number and name."""
        return f"{self.step.number} {self.step.name}"

    def manifest_path(self, root: Path) -> Path:
        """Return the path of its manifest."""
        return manifest_path(root, self.step.number, self.step.name)

    def to_record(self) -> StepRecord:
        """Return the description of the step for its manifest."""
        step = self.step
        return StepRecord(
            step.number,
            step.name,
            step.folder,
            step.version,
            self.is_skipped,
            {} if self.is_skipped else plain_config(step.config),
            {} if self.is_skipped else dict(step.reasons),
            self.chain,
        )


def plan_steps(steps: Sequence[Step], skipped: Collection[int], weight_key: Callable[[Path], str]) -> list[PlannedStep]:
    """Return the steps, in order, with their keys.

    Args:
        steps: all steps from the first one.
        skipped: numbers of the steps to skip.
        weight_key: function that returns the content key of a weights file.

    Raises:
        CheckpointError: weights are missing; the message names the remedy.
    """
    plan: list[PlannedStep] = []
    chain = FIRST_CHAIN
    for step in steps:
        is_skipped = step.number in skipped
        if is_skipped:
            settings = hash_of("skipped", step.name)
        else:
            settings = settings_key(step, [weight_key(path) for path in find_weights(step)])
        chain = chain_key(chain, settings)
        plan.append(PlannedStep(step, is_skipped, settings, chain))
    return plan


def find_weights(step: Step) -> list[Path]:
    """Return the weights of a step.

    Raises:
        CheckpointError: a file is missing; the message names the remedy.
    """
    try:
        return step.weights()
    except CheckpointError as error:
        raise CheckpointError(
            f"step {step.number} ({step.name}): {error}; or skip the step: --skip_steps {step.number}"
        ) from error


def parse_numbers(text: str, highest: int) -> tuple[int, ...]:
    """Parse step numbers such as ``3-6`` or ``1,2,5-8`` and return them in ascending order.

    Raises:
        InputError: the text has another form, or a number is not from 1 to `highest`.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        match = _NUMBERS.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise InputError(f"{text!r} names no steps: write them as 5, 3-6 or 1,2,5-8")
        numbers.update(range(first, last + 1))
    if not numbers <= set(range(1, highest + 1)):
        raise InputError(f"{text!r}: steps are numbered from 1 to {highest}")
    return tuple(sorted(numbers))


class PassThrough:
    """Executor of a skipped step: every clip passes through unchanged."""

    def run(self, work: StepWork, tasks: Iterable[Task]) -> Iterator[FinishedClip]:
        """Yield every task as done; see `Executor`."""
        for task in tasks:
            yield FinishedClip(task, Done((Output(),)), 0.0)


def describe_plan(plan: Sequence[PlannedStep], numbers: Sequence[int], root: Path) -> list[str]:
    """Return one line per step of a dry run; nothing is written.

    Args:
        plan: all steps from the first one.
        numbers: numbers of the steps that would run.
        root: the output folder.
    """
    lines = []
    for planned in plan:
        if planned.step.number in numbers:
            work = "skipped: clips pass" if planned.is_skipped else _describe_weights(planned)
            lines.append(f"step {planned.title}: {work}; {_describe_recorded(planned, root)}")
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
