"""Which steps a run takes, each with the keys of its settings."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import CheckpointError, InputError
from preprocess.executor import Finished, Job
from preprocess.keys import FIRST_CHAIN, chain_key, hash_of, plain_config, settings_key
from preprocess.manifest import manifest_path
from preprocess.records import StepRecord
from preprocess.step import Step
from preprocess.verdict import Done, Output

_SPAN = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run.

    Attributes:
        step: the step.
        is_skipped: whether clips only pass through, by hard link where it has a folder.
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
        """Where its manifest lies."""
        return manifest_path(root, self.step.number, self.step.name)

    def describe(self) -> StepRecord:
        """What its manifest says of it."""
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
    """The steps with their keys, in their order.

    Args:
        steps: from the first one on.
        skipped: numbers of steps that let clips pass.
        weight_key: the content key of a file of weights.

    Raises:
        CheckpointError: weights are missing; the message says how to get them, or to do without.
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
    """The weights of a step; CheckpointError with the remedy where one is missing."""
    try:
        return step.weights()
    except CheckpointError as error:
        raise CheckpointError(
            f"step {step.number} ({step.name}): {error}; or leave the step out: --skip_steps {step.number}"
        ) from error


def parse_numbers(text: str, highest: int) -> tuple[int, ...]:
    """Step numbers of a text such as ``3-6`` or ``1,2,5-8``, in their order.

    Raises:
        InputError: it is something else, or a number is not from 1 to `highest`.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if first > last:
            raise InputError(f"{text!r} names no steps: write them as 5, 3-6 or 1,2,5-8")
        numbers.update(range(first, last + 1))
    if not numbers <= set(range(1, highest + 1)):
        raise InputError(f"{text!r}: steps are numbered from 1 to {highest}")
    return tuple(sorted(numbers))


class PassThrough:
    """The executor of a skipped step: every clip goes on as it is."""

    def run(self, step: Step, jobs: Iterable[Job]) -> Iterator[Finished]:
        """See `Executor`."""
        for job in jobs:
            yield Finished(job, Done((Output(),)), None, 0.0)
