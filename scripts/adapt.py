"""Adapt the lip-sync weights to one person: ``./adapt.sh --video talk.mp4 --out runs/anna``."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from latentsync.adaptation.audio_modes import AUDIO_MODES
from latentsync.cli import OneLineParser, run_command
from latentsync.face.detector import DETECTORS
from latentsync.weights import REPOSITORY_ROOT

if TYPE_CHECKING:
    from latentsync.adaptation.settings import AdaptationSettings

DEFAULT_CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml"
_STAGES = {
    "faces": "finding the face",
    "clips": "cutting clips",
    "before": "checking before the training",
    "after": "checking after the training",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    parser = OneLineParser(prog="adapt.sh", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--video", type=Path, action="append", required=True, help="footage of the person; may be repeated")
    add("--out", type=Path, required=True, help="folder of the result, for --adapted of inference.sh")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="time of the training (default: %(default)g)")
    length.add_argument("--steps", type=int, help="steps of the training instead, for reproducible weights")
    add("--face", default="only", help="only (one person), largest, left, right, an index from the left, or x,y")
    add(
        "--audio",
        choices=AUDIO_MODES,
        default="auto",
        help="own: sound of the footage; both: half of the time recorded speech that moves a mouth as it does; "
        "pseudo: recorded speech for the mouths in the frames; auto: both if the lips fit, else pseudo",
    )
    add("--speech", type=Path, action="append", default=[], help="further recorded speech; may be repeated")
    add("--mixed_clips", type=Path, help="folder or list of training clips of other people, against forgetting")
    add("--config", type=Path, default=DEFAULT_CONFIG, help="YAML (default: configs/demo/adapt.yaml)")
    add("overrides", nargs="*", metavar="key=value", help="changes, e.g. training.optimizer.lr=1e-4")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--detector", choices=DETECTORS, default="auto")
    add("--finish", action="store_true", help="train no further: check and use what an interrupted call has trained")
    add("--dry_run", action="store_true", help="check inputs, weights and folder, and stop")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


class StageBars:
    """A progress bar for each stage except the training."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Advance the bar of a stage, in frames; the training has its own bar."""
        if stage not in _STAGES:
            return
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage, self._bar = stage, tqdm(total=total, desc=_STAGES[stage], unit="frame")
        self._bar.total = total
        self._bar.update(max(0, done - self._bar.n))
        if done >= total:
            self.close()

    def close(self) -> None:
        """Close the bar; it stays on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar, self._stage = None, ""


def settings_of(arguments: argparse.Namespace) -> AdaptationSettings:
    """Return the settings of a command line."""
    from latentsync.adaptation.settings import AdaptationSettings
    from latentsync.config import load_config
    from latentsync.device import resolve_device
    from latentsync.recipes.adaptation_run import AdaptationRun

    return AdaptationSettings(
        run=load_config(arguments.config, AdaptationRun, arguments.overrides),
        videos=tuple(arguments.video),
        out=arguments.out,
        device=resolve_device(arguments.device),
        face=arguments.face,
        minutes=arguments.minutes,
        audio=arguments.audio,
        speech=tuple(arguments.speech),
        mixed_clips=arguments.mixed_clips,
        detector=arguments.detector,
        num_steps=arguments.steps,
    )


def adapt(arguments: argparse.Namespace) -> int:
    """Adapt as the command line says; return the exit status."""
    from latentsync.adaptation.adapt import Adaptation  # imports torch, which --help does without
    from latentsync.adaptation.settings import check_settings

    settings = settings_of(arguments)
    if arguments.dry_run:
        from latentsync.adaptation.lora_memory import describe_memory
        from latentsync.adaptation.needed_weights import check_packages

        check_packages(settings.run)
        for line in describe_memory(settings.run, settings.device):
            print(line, flush=True)
        check_settings(settings)
        print(f"{settings.out}: {settings.length} of training can begin; nothing was written")
        return 0
    bars = StageBars()
    try:
        report, status = Adaptation(settings, bars, lambda line: print(line, flush=True))(arguments.finish)
    finally:
        bars.close()
    if report is not None:
        print("\n".join(report.lines()))
        print(
            f"use it: ./inference.sh --adapted {shlex.quote(str(settings.out))} --video_path VIDEO --audio_path SPEECH"
        )
    return status


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_intermixed_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: adapt(arguments), arguments.debug, "the same command continues")


if __name__ == "__main__":
    sys.exit(main())
