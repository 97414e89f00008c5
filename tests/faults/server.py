"""Runs commands one after the other, each in a fork of this process: ``python -m tests.faults.server``.

Each line on the standard input is a command as JSON; each line on the standard output is the exit status of one.
"""

import json
import os
import signal
import sys
import traceback

from tests.faults.commands import COMMANDS

PATIENCE_S = 120


def serve() -> None:
    """Serves until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.alarm(PATIENCE_S)  # a command that hangs ends by SIGALRM
            os._exit(_run(order))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(order: dict) -> int:
    for number, name in ((1, order["out"]), (2, order["err"])):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    try:
        code = COMMANDS[order["command"]](order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
