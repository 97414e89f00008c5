"""Run documented training commands with --dry_run in one process; tests start it in a repository copy.

Reads [[program, [argument, ...]], ...] as JSON from stdin and writes a list of {"status", "error"} to the file that its
one argument names. A line leaves the weights that its training would have written, if a later line starts from them.
"""

import json
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from latentsync.config import load_config
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.run_folder import claim_run
from tests.documented_commands import start
from tests.stand_in_weights import write_unet

SCHEMAS = {"scripts.train_unet": UNetRun, "scripts.train_syncnet": SyncNetRun}


@dataclass
class Result:
    """Result of a dry run."""

    status: int
    error: str


def configured(program: str, arguments: list[str]) -> UNetRun | SyncNetRun | None:
    """Return the configuration of a command; None for the demo's other networks."""
    if program not in SCHEMAS:
        return None
    overrides = [word for word in arguments if "=" in word]
    return load_config(arguments[arguments.index("--config") + 1], SCHEMAS[program], overrides)


def dry_run(program: str, arguments: list[str], run: UNetRun | SyncNetRun | None, needed: set[str]) -> Result:
    """Run one command, whose configuration is `run`, and prepare the files that the next ones require."""
    sys.argv = [program, *(word for word in arguments if word != "--dry_run"), "--dry_run"]
    error = StringIO()
    logging.getLogger().handlers.clear()  # of the line before, which write to its stderr
    with redirect_stdout(StringIO()), redirect_stderr(error):
        status = exit_status(program)
    if isinstance(run, UNetRun) and (weights := f"{run.training.run_dir}/latentsync_unet.pt") in needed:
        claim_run(Path(run.training.run_dir))
        write_unet(Path(weights), run.model)
    return Result(status, error.getvalue())


def exit_status(program: str) -> int:
    """Run a program in this process and return its exit status."""
    try:
        start(program)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    report, lines = Path(sys.argv[1]), json.load(sys.stdin)
    runs = [configured(program, arguments) for program, arguments in lines]
    needed = {run.initial for run in runs if run is not None and run.initial}
    results = [dry_run(program, arguments, run, needed) for (program, arguments), run in zip(lines, runs, strict=True)]
    report.write_text(json.dumps([vars(result) for result in results]))
