"""Three fast steps over text files, for tests of the runner; the text of a file determines what happens to it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from preprocess.clip import Clip
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict

HOG_BYTES = 1 << 30
"""More memory than the tests allow."""


@dataclass(frozen=True)
class FakeConfig:
    """word: text in the outputs. pause_s: does not change them."""

    word: str = "word"
    pause_s: float = 0.0


@dataclass(frozen=True)
class _FakeStep:
    """What the three steps have in common."""

    config: FakeConfig = field(default_factory=FakeConfig)
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {}
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        return []

    def load(self, device: torch.device) -> Process:
        return self._process

    def _process(self, clip: Clip, work: Path) -> Verdict:
        raise NotImplementedError


@dataclass(frozen=True)
class CheckStep(_FakeStep):
    """Reject files with the text reject."""

    number: ClassVar[int] = 1
    name: ClassVar[str] = "check"
    folder: ClassVar[str | None] = None
    reasons: ClassVar[Mapping[str, str]] = {"asked_for": "the file says so"}

    def _process(self, clip: Clip, work: Path) -> Verdict:
        time.sleep(self.config.pause_s)
        text = clip.path.read_text()
        if "reject" in text:
            return Rejected("asked_for", "it said\nreject", {"length": len(text)})
        return Done((Output(facts={"length": len(text)}),))


@dataclass(frozen=True)
class SplitStep(_FakeStep):
    """Write one clip per line, each with a sidecar."""

    number: ClassVar[int] = 2
    name: ClassVar[str] = "split"
    folder: ClassVar[str | None] = "split"

    def _process(self, clip: Clip, work: Path) -> Verdict:
        outputs = []
        for index, line in enumerate(clip.path.read_text().splitlines()):
            part, note = work / f"part{index}.mp4", work / f"note{index}.txt"
            part.write_text(f"{self.config.word} {line}")
            time.sleep(self.config.pause_s)
            note.write_text(line)
            outputs.append(Output(part, f"_part{index}", {"line": index, "origin": str(clip.path)}, {"note": note}))
        return Done(tuple(outputs))


@dataclass(frozen=True)
class StampStep(_FakeStep):
    """Do to a clip and to its worker what the text asks for; otherwise add a stamp or change nothing."""

    number: ClassVar[int] = 3
    name: ClassVar[str] = "stamp"
    folder: ClassVar[str | None] = "stamped"

    def _process(self, clip: Clip, work: Path) -> Verdict:
        time.sleep(self.config.pause_s)
        text = clip.path.read_text()
        misbehave(text, work)
        if "keep" in text:
            return Done((Output(facts={"kept": True}),))
        stamped = work / "stamped.mp4"
        stamped.write_text(f"{text} {self.config.word} {Path(str(clip.facts['note'])).read_text()}")
        return Done((Output(stamped),))


def misbehave(text: str, work: Path) -> None:
    """Do to the worker what the text of a bad clip asks for."""
    if "raise" in text:
        raise ValueError("bad\nclip")
    if "crash" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in text:
        child = subprocess.Popen(["sleep", "600"])
        (work.parent / "child").write_text(str(child.pid))
        time.sleep(600)
    if "hog" in text:
        hog = b"x" * HOG_BYTES
        time.sleep(600)
        del hog


def fake_steps(word: str = "word", pause_s: float = 0.0) -> Sequence[CheckStep | SplitStep | StampStep]:
    """Return the three steps; `word` is a setting of the last one."""
    return (
        CheckStep(FakeConfig(pause_s=pause_s)),
        SplitStep(FakeConfig(pause_s=pause_s)),
        StampStep(FakeConfig(word, pause_s)),
    )
