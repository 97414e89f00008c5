"""Work over texts, for tests of the executors. The text decides what happens."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from latentsync.executors.base import Work

HOG_BYTES = 1 << 30
"""Memory allocated by a task that says hog; above the tests' limit."""


class TextWork(Work[str, Any]):
    """Returns the text in capitals, or misbehaves."""

    name = "texts"
    title = "the texts"
    uses_device = False

    def load(self, device: torch.device) -> Callable[[str], Any]:
        """Return the function of one text."""

        def process(text: str) -> str:
            misbehave(text, Path(text.rpartition(" ")[2]))
            return text.upper()

        return process

    def retried(self, task: str, attempt: int) -> str:
        """Return the text with the number of the attempt."""
        return f"{task}, attempt {attempt}"


def misbehave(text: str, child: Path) -> None:
    """Raise, crash, hang with a child process, or allocate memory, if the text says so.

    Args:
        text: says what to do; a detached child process leads a session of its own, as ffmpeg does.
        child: file that receives the id of the child process.
    """
    if "raise" in text:
        raise ValueError("bad\nclip")
    if "crash" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in text:
        process = subprocess.Popen(["sleep", "600"], start_new_session="detached" in text)
        child.write_text(str(process.pid))
        time.sleep(600)
    if "hog" in text:
        hog = b"x" * HOG_BYTES
        time.sleep(600)
        del hog
