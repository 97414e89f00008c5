"""Telling a fault of the disk that takes the output from a fault of a clip."""

import os
from pathlib import Path

from latentsync.media.ffmpeg import NO_SPACE

_NEVER_OF_READING = (NO_SPACE, "Disk quota exceeded", "Read-only file system")
_READING_OR_WRITING = "Input/output error"
_OF_WRITING = ("av_interleaved_write_frame", "Error writing trailer", "Error closing file")
_PROBE_BYTES = 4096


def is_about_writing(words: str) -> bool:
    """Whether ffmpeg's words say that the disk did not take what it wrote."""
    is_of_writing = _READING_OR_WRITING in words and any(part in words for part in _OF_WRITING)
    return is_of_writing or any(part in words for part in _NEVER_OF_READING)


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
