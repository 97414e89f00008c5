"""A second process that holds the lock of a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKED = "from latentsync.storage.owned_folder import locked as hold\narguments = ['wait']\n"
LOCKED_BY_APP = "from latentsync.app.app_folders import AppFolders as hold\narguments = []\n"
_HOLD = """
import sys
from pathlib import Path
with hold(Path(sys.argv[1]), *arguments):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_process(folder: Path, kind: str = LOCKED) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that holds `folder`, wait until it does, and yield it; the process ends with the block."""
    command = [sys.executable, "-c", kind + _HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
