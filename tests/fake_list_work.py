"""Work of a list with a stand-in for the pipeline, whose behaviour depends on the name of the result.

A module of its own, because workers import it.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from latentsync.pipelines.lipsync_job import Progress
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.report import LipsyncReport, PersonReport
from latentsync.pipelines.video_maker import Outcome
from latentsync.pipelines.voices import Voices
from latentsync.pipelines.windows import FaceInterval
from latentsync.recipes import lipsync
from latentsync.recipes.lipsync import LipsyncBuild
from latentsync.recipes.list_run import ListWork, NumberedJob
from latentsync.storage.temporary_files import temporary_path

MISBEHAVE = "misbehave"
"""File beside the results; without it every job succeeds."""


@dataclass(frozen=True)
class FakeListWork(ListWork):
    """Generates videos with `FakePipeline`."""

    def load(self, device: torch.device) -> Callable[[NumberedJob], Outcome]:
        lipsync.build_pipeline = FakePipeline  # type: ignore[assignment]
        return super().load(device)


class FakePipeline:
    """Writes the bytes of the speech as the result; with `MISBEHAVE`, a result named dies or hangs does so."""

    def __init__(self, build: LipsyncBuild) -> None:
        self.build = build

    def __call__(
        self,
        video: Path,
        audio: Path | Voices,
        out: Path,
        options: LipsyncOptions,
        temp_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> LipsyncReport:
        assert isinstance(audio, Path)
        unfinished = temporary_path(out)
        unfinished.write_text("half")
        out.with_name(f"begun-{out.stem}-{os.getpid()}").touch()
        if "DOOMED" in os.environ:  # the machine is removed while this runs
            out.with_name(f"doomed-{out.stem}").touch()
            time.sleep(600)
        if out.with_name(MISBEHAVE).exists():
            if "dies" in out.name:
                os.kill(os.getpid(), signal.SIGKILL)
            if "hangs" in out.name:
                time.sleep(600)
        unfinished.write_bytes(audio.read_bytes())
        unfinished.rename(out)
        person = PersonReport("largest", audio, [FaceInterval(0, 10, True)])
        return LipsyncReport(out, [], 10, [person], 25.0, 1.0, 4.0, 100.0, None)
