"""Results of `benchmarks.adaptation` in one file, which collects those of several sessions and machines.

Every line has the trial, the training, the base weights by their hash, and the values.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.stored_results import Values, read_log
from latentsync.errors import InputError
from latentsync.recipes.adapted_weights import RECORD
from latentsync.storage.content_cache import cache_key
from latentsync.storage.output_file import atomic_output

LOG = "results.jsonl"
"""Log of the trials in the folder of a measurement."""

_LABEL = re.compile(r"Trial\(person=(\d+), audio='(\w+)', is_mixed=(True|False), seed=(\d+)\)")
_DECIMALS = 4
HASH_DIGITS = 12


@dataclass(frozen=True)
class Trial:
    """One adaptation: whom, with which audio, mixed clips or not, and the seed."""

    person: int
    audio: str
    is_mixed: bool
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.audio}{'_mixed' if self.is_mixed else ''}_{self.seed}"

    def folder(self, out: Path) -> Path:
        """Return its folder in that of the measurement."""
        return out / f"person_{self.person}" / self.name

    @classmethod
    def parse(cls, label: str) -> "Trial":
        """Return the trial that a log names; raise ValueError for another label."""
        found = _LABEL.fullmatch(label)
        if found is None:
            raise ValueError(f"{label!r} is not the label of a trial")
        person, audio, is_mixed, seed = found.groups()
        return cls(int(person), audio, is_mixed == "True", int(seed))


@dataclass(frozen=True)
class Training:
    """How the weights of a trial are trained.

    Attributes:
        length: such as "600 steps".
        overrides: changes of `configs/demo/adapt.yaml`.
    """

    length: str
    overrides: tuple[str, ...] = ()

    def key(self, trial: Trial) -> str:
        """Return the key of a trial in the log."""
        return cache_key("adaptation", 5, str(trial), self.length, *self.overrides)

    def __str__(self) -> str:
        return " ".join((self.length, *self.overrides))


@dataclass(frozen=True)
class TrialResult:
    """Values of a finished trial, and `base`, the first digits of the hash of the weights that it started from."""

    trial: Trial
    training: Training
    base: str
    values: Values

    def line(self) -> str:
        """Return the line of the file."""
        values = {name: round(value, _DECIMALS) for name, value in self.values.items()}
        return json.dumps({**asdict(self.trial), **asdict(self.training), "base": self.base, "values": values})

    @classmethod
    def parse(cls, line: str) -> "TrialResult":
        """Return the result of a line; raise ValueError, KeyError or TypeError if it is damaged."""
        row = json.loads(line)
        trial = Trial(row["person"], row["audio"], row["is_mixed"], row["seed"])
        values = {name: float(value) for name, value in row["values"].items()}
        return cls(trial, Training(row["length"], tuple(row["overrides"])), row["base"], values)


def read_results(path: Path) -> list[TrialResult]:
    """Read a file of results.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return [TrialResult.parse(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a file of results") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: restore it from git") from error


def write_results(path: Path, results: Iterable[TrialResult]) -> None:
    """Write a file of results, in the order of trainings, audio and people, so that additions are small changes."""

    def order(result: TrialResult) -> tuple[object, ...]:
        trial = result.trial
        return str(result.training), result.base, trial.audio, trial.is_mixed, trial.person, trial.seed

    with atomic_output(path) as beside:
        beside.write_text("".join(f"{result.line()}\n" for result in sorted(results, key=order)), encoding="utf-8")


def measured_results(out: Path, training: Training) -> Iterator[TrialResult]:
    """Yield the results of one training in the folder of a measurement; those of other trainings are skipped.

    Raises:
        InputError: the folder has no log, or an adaptation is missing.
    """
    for key, label, values in read_log(out / LOG):
        trial = Trial.parse(label)
        if training.key(trial) == key:
            yield TrialResult(trial, training, base_hash(trial.folder(out)), values)


def base_hash(adapted: Path) -> str:
    """Return the first digits of the hash of the weights that an adaptation started from.

    Raises:
        InputError: the record of the adaptation is missing or damaged.
    """
    try:
        record = json.loads((adapted / RECORD).read_text(encoding="utf-8"))
        return record["belongs_to"][record["base"]][:HASH_DIGITS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{adapted / RECORD} is missing or damaged: name the folder of a measurement") from error
