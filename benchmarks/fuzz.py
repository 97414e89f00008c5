"""Test thousands of hostile inputs: ``python -m benchmarks.fuzz --minutes 30``.

Every property of ``tests/fuzz`` gets the same time; ``--seed`` selects other cases. Prints the number of cases and how
they ended; a case that violates a property is minimized and printed.
"""

import argparse
import itertools
import logging
import sys
import time
import traceback
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, run_command
from tests.fuzz.harness import CASES
from tests.fuzz.properties import PROPERTIES

_CASES_PER_ROUND = 40


def fuzz(name: str, seconds: float, seed: int) -> int:
    """Test one property for some seconds; return the number of rounds that found a fault."""
    faults, stop = 0, time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > stop:
            return faults

        @hypothesis.seed(seed + number)
        @settings(
            max_examples=_CASES_PER_ROUND,
            deadline=None,
            database=None,
            suppress_health_check=[check for check in HealthCheck if isinstance(check, HealthCheck)],
            verbosity=hypothesis.Verbosity.quiet,
        )
        @given(st.deferred(PROPERTIES[name]))
        def holds(case) -> None:
            case()

        try:
            holds()
        except Exception:
            faults += 1
            print(f"{name}, seed {seed + number}:\n{traceback.format_exc()}", flush=True)
    return faults


def table(ended: Counter[tuple[str, int]], faults: dict[str, int]) -> str:
    """Return a Markdown table of cases by exit code."""
    codes = sorted({code for _, code in ended})
    titles = {0: "whole result (0)", 1: "some of a list (1)", 2: "one line (2)"}
    head = ["hostile input", "cases", *(titles.get(code, f"exit code {code}") for code in codes), "faults"]
    rows = [head, ["---"] * len(head)]
    for name in faults:
        counts = [ended[name, code] for code in codes]
        rows.append([name, str(sum(counts)), *map(str, counts), str(faults[name])])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def run(options: argparse.Namespace) -> int:
    """Test all properties and print the table; return 1 if one is violated."""
    logging.disable(logging.WARNING)
    seconds = options.minutes * 60 / len(options.only)
    faults = {}
    for name in options.only:
        faults[name] = fuzz(name, seconds, options.seed)
        print(f"{name}: {sum(n for (of, _), n in CASES.ended.items() if of == name)} cases", flush=True)
    print(table(CASES.ended, faults))
    return EXIT_SOME_FAILED if any(faults.values()) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(prog="python -m benchmarks.fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=30.0, help="total time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PROPERTIES, default=list(PROPERTIES), help="only these properties")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
