"""Run commands on disks that fill up, fail or become read-only, at every write or at some of them.

    python -m benchmarks.faults                       # every fault at every write: hours
    python -m benchmarks.faults --points 40           # 40 points of each scenario, evenly spread

Prints the number of injected faults, how the commands ended, and every broken promise: lost or changed files of the
user, incomplete results, not exactly one error line, or a second run that does not resume. The exit code is 1 if a
promise was broken. Requires Linux and a C compiler.
"""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, run_command
from latentsync.errors import ToolError
from latentsync.storage.temporary_files import temporary_folder
from tests.faults.injector import injecting, missing_tools
from tests.faults.scenarios import SCENARIOS, Attempt, Sweep, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS), help="(default: all)"
    )
    parser.add_argument("--points", type=int, help="number of points per scenario (default: all faults everywhere)")
    options = parser.parse_args(arguments)
    return run_command(lambda: sweep_all(options.scenarios, options.points), when_stopped="nothing was kept")


def sweep_all(names: Sequence[str], num_points: int | None) -> int:
    """Run the scenarios with faults and print the table.

    Raises:
        ToolError: there is no C compiler, or the system is not Linux.
    """
    if (missing := missing_tools()) is not None:
        raise ToolError(f"{missing}: run this on a system that has it")
    attempts: dict[str, list[Attempt]] = {}
    num_calls: dict[str, int] = {}
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        (folder / "server").mkdir()
        with injecting(folder / "server") as injector:
            for name in names:
                sweep = Sweep(injector, SCENARIOS[name], folder / name)
                num_calls[name] = sweep.num_calls
                points = list(sweep.points(num_points))
                bar = tqdm(points, desc=name, disable=None, unit="fault")
                attempts[name] = [sweep.attempt(at, fault) for at, fault in bar]
    print(table(attempts, num_calls).replace(str(folder) + "/", ""))
    return EXIT_SOME_FAILED if any(one.broken_promises for tried in attempts.values() for one in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
