"""A step whose behaviour depends on the clip's name. A module of its own, because Ray workers import it."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from latentsync.errors import CheckpointError
from preprocess.step import Clip, CpuStep, Done, Output, ProcessClip, Rejected, StepResult


@dataclass(frozen=True)
class FakeConfig:
    """Settings of the step.

    Attributes:
        shared: folder shared by tests and workers.
        load_error: message of the error that `load` raises; "" for none.
    """

    shared: str
    load_error: str = ""


@dataclass(frozen=True)
class FakeStep(CpuStep):
    """Behaves according to the clip's name: fine, dies, raises, hangs, rejected."""

    config: FakeConfig

    number: ClassVar[int] = 1
    name: ClassVar[str] = "fake"
    folder: ClassVar[str | None] = "faked"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {"dull": "nothing happens in it"}

    def load(self, device: torch.device) -> ProcessClip:
        if self.config.load_error:
            raise CheckpointError(self.config.load_error)
        shared = Path(self.config.shared)
        (shared / f"loaded-{os.getpid()}").touch()

        def process(clip: Clip, work: Path) -> StepResult:
            return behave(clip, work, shared)

        return process


def behave(clip: Clip, work: Path, shared: Path) -> StepResult:
    assert list(work.iterdir()) == []
    if "DOOMED" in os.environ:  # the machine is removed while this runs
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
