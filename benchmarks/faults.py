"""Runs commands on disks that fill up, break or become read-only, at every write or at some of them.

    python -m benchmarks.faults                       # every fault at every write: hours
    python -m benchmarks.faults --points 40           # 40 points of each scenario, evenly spread

Prints how many faults were injected, how the commands ended, and every promise that was broken: files of the user that
are gone or changed, results that are not whole, more or less than one error line, a second run that does not go on.
Exit status 1 where one was. Needs Linux and a C compiler.
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
    """Runs the command; gives its exit status."""
    parser = OneLineParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS), help="(default: all)"
    )
    parser.add_argument("--points", type=int, help="so many points of each scenario (default: all faults everywhere)")
    options = parser.parse_args(arguments)
    return run_command(lambda: sweep_all(options.scenarios, options.points), when_stopped="nothing was kept")


def sweep_all(names: Sequence[str], num_points: int | None) -> int:
    """Sweeps the scenarios and prints the table.

    Raises:
        ToolError: there is no compiler here, or this is no Linux.
    """
    if (missing := missing_tools()) is not None:
        raise ToolError(f"{missing}: run this where there is one")
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
