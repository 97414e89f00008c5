"""Telling a fault of the disk that takes the output from a fault of a clip."""

import os
from pathlib import Path

_PROBE_BYTES = 4096


def fault_of(folder: Path) -> OSError | None:
    """What goes wrong where a small file is written to the disk of a folder; None where nothing does."""
    probe = folder / "probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        return error
    return None
