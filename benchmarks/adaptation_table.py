"""Print the means of adaptation results, with intervals over people, and collect the results of several sessions.

    python -m benchmarks.adaptation_table docs/adapt/results.jsonl
    python -m benchmarks.adaptation_table docs/adapt/results.jsonl --add runs/a runs/b --steps 600 [key=value ...]

With --add, the finished trials of measurements (`python -m benchmarks.adaptation --out runs/a`) are first added to the
file. Length and settings are those of the measurement: trials with others are not added. A trial that the file has is
kept.
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

METRICS = (
    *("mouth PSNR to truth, dB", "opening, reader", "opening, renderings", "leak, reader", "leak, renderings"),
    *("flicker", "sharpness"),
)
MOMENTS = ("before", "after", "change", "truth")


def table(results: Sequence[TrialResult]) -> str:
    """Return one group of rows for each training and kind of audio.

    Every value is the mean over people of the mean over their seeds, with the 95 % bootstrap interval over people.
    "change" is the mean of after - before.
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
    return markdown_table(list(rows[0]), rows)


def _group(result: TrialResult) -> tuple[str, str, str, bool]:
    return str(result.training), result.base, result.trial.audio, result.trial.is_mixed


def values_by_person(results: Sequence[TrialResult]) -> dict[int, Values]:
    """Return for each person the mean over the seeds of every value and change."""
    by_person: dict[int, list[Values]] = {}
    for result in results:
        by_person.setdefault(result.trial.person, []).append(result.values)
    means = {
        person: {name: float(np.mean([values[name] for values in seeds])) for name in seeds[0]}
        for person, seeds in by_person.items()
    }
    return {person: values | changes(values) for person, values in means.items()}


def changes(values: Values) -> Values:
    """Return after - before of every metric that was measured at both."""
    pairs = {metric: (values.get(f"before {metric}"), values.get(f"after {metric}")) for metric in METRICS}
    return {f"change {metric}": b - a for metric, (a, b) in pairs.items() if a is not None and b is not None}


def interval_of(values: Sequence[float | None]) -> str:
    """Format the mean of the known values and its interval; "" if there are none."""
    mean = bootstrap_mean([value for value in values if value is not None])
    if mean is None:
        return ""
    return f"{mean.mean:.3g}" if mean.low is None else f"{mean.mean:.3g} [{mean.low:.3g}, {mean.high:.3g}]"


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
    add_training_options(parser)
    options = parser.parse_intermixed_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Add results if folders are named, and print the table."""
    if options.add:
        add_results(options.results, options.add, training_of(options))
    if results := read_results(options.results):
        print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
