"""A step whose behaviour depends on the name of the clip, in a module that its workers can import."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from latentsync.errors import CheckpointError
from preprocess.clip import Clip
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict


@dataclass(frozen=True)
class FakeConfig:
    """shared: folder of tests and workers. load_error: error that loading raises, if any."""

    shared: str
    load_error: str = ""


@dataclass(frozen=True)
class FakeStep:
    """Behave as the name of the clip says: fine, dies, raises, hangs, rejected."""

    config: FakeConfig

    number: ClassVar[int] = 1
    name: ClassVar[str] = "fake"
    folder: ClassVar[str | None] = "faked"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {"dull": "nothing happens in it"}
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        return []

    def load(self, device: torch.device) -> Process:
        if self.config.load_error:
            raise CheckpointError(self.config.load_error)
        shared = Path(self.config.shared)
        (shared / f"loaded-{os.getpid()}").touch()

        def process(clip: Clip, work: Path) -> Verdict:
            return behave(clip, work, shared)

        return process


def behave(clip: Clip, work: Path, shared: Path) -> Verdict:
    assert list(work.iterdir()) == []
    if "DOOMED" in os.environ:  # the machine will be gone while this runs
        (shared / f"begun-{clip.name}").touch()
        time.sleep(600)
    match clip.name.partition("-")[0]:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raises":
            raise ValueError("as told")
        case "hangs":
            time.sleep(600)
        case "rejected":
            return Rejected("dull", "very", {"measured": 1})
    (work / "out.txt").write_text(clip.name)
    return Done((Output(work / "out.txt", facts={"process": os.getpid()}),))
