"""Three fast steps over text files, for tests of the runner and the executors. The text decides what happens."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from tests.fake_work import misbehave


@dataclass(frozen=True)
class FakeConfig:
    """Settings of the fake steps.

    Attributes:
        word: written into the outputs.
        pause_s: seconds to sleep; does not change the outputs.
    """

    word: str = "word"
    pause_s: float = 0.0


@dataclass(frozen=True)
class _FakeStep(CpuStep):
    """Base of the three steps."""

    config: FakeConfig = field(default_factory=FakeConfig)
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {}


@dataclass(frozen=True)
class CheckStep(_FakeStep):
    """Rejects files that say reject."""

    number: ClassVar[int] = 1
    name: ClassVar[str] = "check"
    folder: ClassVar[str | None] = None
    reasons: ClassVar[Mapping[str, str]] = {"asked_for": "the file says so"}

    def process(self, clip: Clip, work: Path) -> StepResult:
        time.sleep(self.config.pause_s)
        text = clip.path.read_text()
        if "reject" in text:
            return Rejected("asked_for", "it said\nreject", {"length": len(text)})
        return Done((Output(facts={"length": len(text)}),))


@dataclass(frozen=True)
class SplitStep(_FakeStep):
    """Makes one clip with a sidecar of every line."""

    number: ClassVar[int] = 2
    name: ClassVar[str] = "split"
    folder: ClassVar[str | None] = "split"

    def process(self, clip: Clip, work: Path) -> StepResult:
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
    """Misbehaves as the text says (see `misbehave`); else appends a stamp, or passes a clip that says keep."""

    number: ClassVar[int] = 3
    name: ClassVar[str] = "stamp"
    folder: ClassVar[str | None] = "stamped"

    def process(self, clip: Clip, work: Path) -> StepResult:
        time.sleep(self.config.pause_s)
        text = clip.path.read_text()
        misbehave(text, work.parent / "child")
        if "keep" in text:
            return Done((Output(facts={"kept": True}),))
        stamped = work / "stamped.mp4"
        stamped.write_text(f"{text} {self.config.word} {Path(str(clip.facts['note'])).read_text()}")
        return Done((Output(stamped),))


def fake_steps(word: str = "word", pause_s: float = 0.0) -> Sequence[CheckStep | SplitStep | StampStep]:
    """Return the three steps; `word` is a setting of the last one."""
    return (
        CheckStep(FakeConfig(pause_s=pause_s)),
        SplitStep(FakeConfig(pause_s=pause_s)),
        StampStep(FakeConfig(word, pause_s)),
    )
