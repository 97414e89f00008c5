"""Sync confidence of videos: ``./eval/eval_sync_conf.sh --videos FILE_OR_FOLDER``.

Each video is judged against its own sound, or against `--audio`, by SyncNet-v2 with the published protocol's face
tracks (`--scorer sync`), or by a StableSyncNet (`--scorer stable_sync`, the demo's; `stable_sync_published`). Videos
that cannot be judged are listed and counted, and are not in the means.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eval.face_clips import FaceClips
from eval.metrics.metric import Judge, Metric, Sample, not_measured_line
from eval.metrics.stable_sync import METRICS as STABLE_METRICS
from eval.metrics.sync import METRIC as SYNC
from latentsync.cli import EXIT_BAD_INPUT, OneLineParser, run_command
from latentsync.data.clip_list import VIDEO_SUFFIXES, list_clips
from latentsync.device import resolve_device
from latentsync.errors import CheckpointError, InputError, LatentSyncError
from latentsync.face.detector import DETECTORS
from latentsync.storage.output_file import atomic_output, check_output_file
from latentsync.storage.temporary_files import temporary_folder

SCORERS: dict[str, Metric] = {metric.name: metric for metric in (SYNC, *STABLE_METRICS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates as the command line says; returns the exit status: 2 where no video could be judged."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.out is not None:
        given = [*find_videos(options.videos), *options.videos, *([options.audio] if options.audio else [])]
        check_output_file(options.out, given)
    report = evaluate(options)
    sys.stdout.write("\n".join(lines(report)) + "\n")
    if options.out is not None:
        with atomic_output(options.out) as beside:
            beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if report["num_judged"] else EXIT_BAD_INPUT


def evaluate(options: argparse.Namespace) -> dict:
    """The report: figures and faults by video, and the means.

    Raises:
        LatentSyncError: there are no videos, or the scorer's weights are missing.
    """
    videos = find_videos(options.videos)
    metric = SCORERS[options.scorer]
    missing = not_measured_line(metric)
    if missing is not None:
        raise CheckpointError(f"{missing}: run python -m scripts.download_weights --training, or choose --scorer")
    device = resolve_device(options.device)
    judge = metric.load(device)
    judged: dict[str, dict[str, float]] = {}
    faults: dict[str, str] = {}
    with ExitStack() as stack:
        cache = options.cache_dir or stack.enter_context(temporary_folder(remedy="set TMPDIR to another folder"))
        clips = stack.enter_context(FaceClips(cache, device, options.detector))
        for video in tqdm(videos, disable=None, unit="video"):
            try:
                judged[str(video)] = _figures(judge, video, options.audio or video, clips)
            except LatentSyncError as error:
                faults[str(video)] = str(error)
    names = [figure.name for figure in metric.figures]
    return {
        "scorer": options.scorer,
        "detector": clips.detector_name,
        "num_judged": len(judged),
        "num_not_judged": len(faults),
        "means": {name: float(np.mean([one[name] for one in judged.values()])) for name in names} if judged else {},
        "videos": judged,
        "not_judged": faults,
    }


def _figures(judge: Judge, video: Path, audio: Path, clips: FaceClips) -> dict[str, float]:
    return judge(Sample(video.stem, video, video, None, audio), clips)


def find_videos(sources: Sequence[Path]) -> list[Path]:
    """The videos that are named, or lie in the folders or lists that are named. Raises InputError where none is."""
    videos: list[Path] = []
    for source in sources:
        is_video = source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES
        videos += [source] if is_video else list_clips(source)
    if not videos:
        raise InputError("no video is named: give files or folders with --videos")
    return list(dict.fromkeys(videos))


def lines(report: dict) -> list[str]:
    """The report for a person to read."""
    rows = [f"{video}: {_shown(figures)}" for video, figures in report["videos"].items()]
    rows += [f"{video}: not judged: {reason}" for video, reason in report["not_judged"].items()]
    rows.append(f"{report['num_judged']} judged, {report['num_not_judged']} not; faces by {report['detector']}")
    if report["num_judged"]:
        rows.append(f"mean: {_shown(report['means'])}")
    return rows


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="eval_sync_conf.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--videos", type=Path, nargs="+", required=True, help="videos, folders of videos, or lists with a path a line")
    add("--audio", type=Path, help="judge every video against this speech (default: its own sound)")
    add("--scorer", choices=tuple(SCORERS), default=SYNC.name, help="default: %(default)s")
    add("--detector", choices=DETECTORS, default="auto", help="finds the faces")
    add("--cache_dir", type=Path, help="keep where the faces are here (else it is thrown away)")
    add("--out", type=Path, help="JSON file for the report")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
