"""Print the means of adaptation results, with intervals over people, and collect the results of several sessions.

    python -m benchmarks.adaptation_table docs/adapt/results.jsonl [--each]
    python -m benchmarks.adaptation_table docs/adapt/results.jsonl --add runs/a runs/b --steps 600 [key=value ...]

With --add, the finished trials of measurements (`python -m benchmarks.adaptation --out runs/a`) are first added to the
file. Length and settings are those of the measurement: trials with others are not added. A trial that the file has is
kept. With --each, a second table has a row for each trial.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from benchmarks.adaptation_results import (
    Training,
    TrialResult,
    measured_results,
    read_results,
    write_results,
)
from benchmarks.measurement import markdown_table
from eval.bootstrap import bootstrap_mean
from eval.stored_results import Values
from latentsync.cli import OneLineParser, run_command

OPENINGS = (
    *("opening, reader", "opening, renderings"),
    *("opening of two voices, reader", "opening of two voices, renderings"),
)
METRICS = ("mouth PSNR to truth, dB", *OPENINGS, "leak, reader", "leak, renderings", "flicker", "sharpness")
MOMENTS = ("before", "after", "change", "truth")
TARGETS = {
    "after": {
        **dict.fromkeys(OPENINGS, (0.90, 1.0)),
        **dict.fromkeys(("leak, reader", "leak, renderings"), (-np.inf, 0.15)),
        "flicker": (0.8, 1.3),
        "sharpness": (0.85, np.inf),
    },
    "change": {
        "mouth PSNR to truth, dB": (2.5, np.inf),
        **dict.fromkeys(OPENINGS, (-0.04, np.inf)),
    },
}
"""Lowest and highest value of each metric that a person should have."""
BEFORE = {name: name.replace("renderings", "reader") for name in METRICS if name.endswith("renderings")}
"""What metrics are compared with that mouths of the base weights cannot have, since these lack the person's colours."""


def table(results: Sequence[TrialResult]) -> str:
    """Return one group of rows for each training and kind of audio.

    Every value is the mean over people of the mean over their seeds, with the 95 % bootstrap interval over people.
    "change" is the mean of after - before. Two rows count the people whose values lie within `TARGETS`.
    """
    rows = []
    for (training, base, audio, is_mixed), group in groupby(sorted(results, key=_group), _group):
        chosen = list(group)
        people = list(values_by_person(chosen).values())
        head = {
            "training": training,
            "base": base,
            "audio": f"{audio}, mixed clips" if is_mixed else audio,
            "people": len(people),
            "seeds": len({result.trial.seed for result in chosen}),
        }
        for moment in MOMENTS:
            cells = {metric: interval_of([values.get(f"{moment} {metric}") for values in people]) for metric in METRICS}
            rows.append({**head, "mouths": moment, **cells})
        for moment, targets in TARGETS.items():
            counts = {metric: people_within(people, moment, metric) for metric in METRICS if metric in targets}
            name = {"mouths": f"people within the target, {moment}"}
            rows.append({**head, **name, **dict.fromkeys(METRICS, ""), **counts})
    return markdown_table(list(rows[0]), rows)


def table_of_trials(results: Sequence[TrialResult]) -> str:
    """Return a row for each trial, with cells such as "0.97 -> 0.90 (0.92)": before, after, in the truth."""
    rows = []
    for result in sorted(results, key=lambda one: (*_group(one), one.trial.person, one.trial.seed)):
        training, _, audio, is_mixed = _group(result)
        head = {
            "training": training,
            "audio": f"{audio}, mixed clips" if is_mixed else audio,
            "person": result.trial.person,
            "seed": result.trial.seed,
            "guidance": f"{result.values['guidance']:g}" if "guidance" in result.values else "",
        }
        rows.append(head | {metric: _moments(result.values, metric) for metric in METRICS})
    return markdown_table(list(rows[0]), rows)


def _moments(values: Values, metric: str) -> str:
    known = [_number(values[name]) for name in (f"before {metric}", f"after {metric}") if name in values]
    truth = values.get(f"truth {metric}")
    return " -> ".join(known) + ("" if truth is None else f" ({_number(truth)})")


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3g}"  # 0.0: no "-0"


def _group(result: TrialResult) -> tuple[str, str, str, bool]:
    return str(result.training), result.base, result.trial.audio, result.trial.is_mixed


def values_by_person(results: Sequence[TrialResult]) -> dict[int, Values]:
    """Return for each person the mean of every value over the seeds that have it, and its change."""
    by_person: dict[int, list[Values]] = {}
    for result in results:
        by_person.setdefault(result.trial.person, []).append(result.values)
    means = {
        person: {
            name: float(np.mean([values[name] for values in seeds if name in values]))
            for name in chain.from_iterable(seeds)
        }
        for person, seeds in by_person.items()
    }
    return {person: values | changes(values) for person, values in means.items()}


def changes(values: Values) -> Values:
    """Return after - before of every metric that was measured at both; before may be that of another reading."""
    pairs = {
        metric: (values.get(f"before {BEFORE.get(metric, metric)}"), values.get(f"after {metric}"))
        for metric in METRICS
    }
    return {f"change {metric}": b - a for metric, (a, b) in pairs.items() if a is not None and b is not None}


def people_within(people: Sequence[Values], moment: str, metric: str) -> str:
    """Return how many of the people that have the value lie within its target, such as "9 of 10"; "" if none has it."""
    low, high = TARGETS[moment][metric]
    known = [values[name] for values in people if (name := f"{moment} {metric}") in values]
    return f"{sum(low <= value <= high for value in known)} of {len(known)}" if known else ""


def interval_of(values: Sequence[float | None]) -> str:
    """Format the mean of the known values and its interval; "" if there are none."""
    mean = bootstrap_mean([value for value in values if value is not None])
    if mean is None:
        return ""
    if mean.low is None or mean.high is None:
        return _number(mean.mean)
    return f"{_number(mean.mean)} [{_number(mean.low)}, {_number(mean.high)}]"


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a measurement's trainings; parse with `parse_intermixed_args`."""
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, help="training steps instead of minutes, for equal results on any machine")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of configs/demo/adapt.yaml")


def training_of(options: argparse.Namespace) -> Training:
    """Return the training that the options describe."""
    length = f"{options.minutes:g} minutes" if options.steps is None else f"{options.steps} steps"
    return Training(length, tuple(options.overrides))


def add_results(path: Path, folders: Sequence[Path], training: Training) -> None:
    """Add the results of measurements to a file, which may be new, and print how many were added."""
    results = {(one.trial, one.training, one.base): one for one in (read_results(path) if path.exists() else [])}
    num_before = len(results)
    for one in chain.from_iterable(measured_results(folder, training) for folder in folders):
        results.setdefault((one.trial, one.training, one.base), one)
    if len(results) > num_before:
        write_results(path, results.values())
    print(f"{path}: {len(results) - num_before} added with {training}, {len(results)} trials")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.adaptation_table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="file of results")
    parser.add_argument("--add", nargs="+", type=Path, default=[], metavar="OUT", help="folders of measurements")
    parser.add_argument("--each", action="store_true", help="print a row for each trial too")
    add_training_options(parser)
    options = parser.parse_intermixed_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Add results if folders are named, and print the tables."""
    if options.add:
        add_results(options.results, options.add, training_of(options))
    if results := read_results(options.results):
        print(table(results))
        if options.each:
            print()
            print(table_of_trials(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
