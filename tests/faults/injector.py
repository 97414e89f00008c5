"""Disks that fill up, break or become read-only at a chosen write of a command: ``faults.c``, compiled when first used.

Commands run in processes that are forked from one server, which has the library preloaded and everything imported.
"""

import errno
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latentsync.weights import REPOSITORY_ROOT

SOURCE = Path(__file__).with_name("faults.c")
PLAN_VARIABLE = "LATENTSYNC_FAULTS"
_PATH_BYTES = 4096
_HEAD = struct.Struct("<5Q")
_PATIENCE_S = 300


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        name: for people.
        error: errno of the failing calls.
        stays: whether all later calls fail too.
    """

    name: str
    error: int
    stays: bool


FAULTS = (
    Fault("full disk", errno.ENOSPC, True),
    Fault("broken disk", errno.EIO, True),
    Fault("one broken block", errno.EIO, False),
    Fault("read-only disk", errno.EROFS, True),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit status.
        out, err: what it printed.
        num_calls: that write below the folder.
        num_failed: of these.
        first: the first one that failed.
    """

    code: int
    out: str
    err: str
    num_calls: int
    num_failed: int
    first: str


def missing_tools() -> str | None:
    """Why faults cannot be injected here; None where they can."""
    if not sys.platform.startswith("linux"):
        return "faults are injected on Linux only"
    return None if shutil.which("cc") else "no C compiler (cc) is installed"


class Injector:
    """A server for commands whose writes can be made to fail; `injecting` starts one."""

    def __init__(self, server: "subprocess.Popen[str]", plan: Path) -> None:
        self._server = server
        self._plan = plan

    def run(
        self, command: str, arguments: Sequence[str], watched: Path, fault: Fault | None = None, at: int = 0
    ) -> Ended:
        """Runs a command to its end.

        Args:
            command: of `tests.faults.commands`.
            arguments: its arguments.
            watched: the folder, without links in its path, whose writes are counted.
            fault: what goes wrong; None lets all be well.
            at: at which call, from 1.
        """
        self._write_plan(watched, fault, at)
        out, err = self._plan.with_name("out.txt"), self._plan.with_name("err.txt")
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        order = {"command": command, "arguments": list(arguments), "out": str(out), "err": str(err)}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the server of commands ended")
        count, _, _, _, failed = _HEAD.unpack(self._plan.read_bytes()[: _HEAD.size])
        first = self._plan.read_bytes()[_HEAD.size + _PATH_BYTES :].split(b"\0")[0].decode(errors="replace")
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        return Ended(json.loads(answer), texts[0], texts[1], count, failed, first)

    def _write_plan(self, watched: Path, fault: Fault | None, at: int) -> None:
        head = _HEAD.pack(0, at if fault else 0, bool(fault and fault.stays), fault.error if fault else 0, 0)
        folder = os.fsencode(watched.resolve())
        with self._plan.open("r+b") as file:  # the file that the server has mapped, not a new one
            file.write(head + folder.ljust(_PATH_BYTES, b"\0") + bytes(_PATH_BYTES))


@contextmanager
def injecting(scratch: Path) -> Iterator[Injector]:
    """Compiles the library and starts the server; `scratch` takes both and what commands print."""
    library, plan = scratch / "faults.so", scratch / "plan"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    plan.write_bytes(bytes(_HEAD.size + 2 * _PATH_BYTES))
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        PLAN_VARIABLE: str(plan),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY_ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "tests.faults.server"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield Injector(server, plan)
        finally:
            if server.stdin is not None:
                server.stdin.close()
            server.wait(_PATIENCE_S)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
