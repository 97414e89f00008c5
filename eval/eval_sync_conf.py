"""Measure the sync confidence of videos: ``./eval/eval_sync_conf.sh --videos FILE_OR_FOLDER``.

Each video is scored with its own audio, or with `--audio`, by SyncNet-v2 with the published protocol's face tracks
(`--scorer sync`), or by a StableSyncNet (`--scorer stable_sync`, the demo's; `stable_sync_published`). Videos that
cannot be scored are listed and counted, and are not part of the means.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eval.metrics.metric import Metric, not_measured_line
from eval.pairs import Pair
from eval.stored_results import write_report
from latentsync.cli import EXIT_BAD_INPUT, OneLineParser, run_command
from latentsync.data.clip_list import VIDEO_SUFFIXES, list_clips
from latentsync.errors import CheckpointError, InputError, LatentSyncError
from latentsync.face.detector import DETECTORS
from latentsync.storage.output_file import check_output_file
from latentsync.storage.temporary_files import temporary_folder

SCORERS = ("sync", "stable_sync", "stable_sync_published")


@cache
def scorers() -> dict[str, Metric]:
    """Return the metrics that `SCORERS` names; importing them imports torch, which --help does without."""
    from eval.metrics.stable_sync import METRICS as STABLE_METRICS
    from eval.metrics.sync import METRIC as SYNC

    return {metric.name: metric for metric in (SYNC, *STABLE_METRICS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if no video could be scored."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.out is not None:
        given = [*find_videos(options.videos), *options.videos, *([options.audio] if options.audio else [])]
        check_output_file(options.out, given)
    report = evaluate(options)
    sys.stdout.write("\n".join(lines(report)) + "\n")
    write_report(report, options.out)
    return 0 if report["num_judged"] else EXIT_BAD_INPUT


def evaluate(options: argparse.Namespace) -> dict:
    """Return the report: values and errors by video, and means over the videos.

    Raises:
        LatentSyncError: there are no videos, or the scorer's weights are missing.
    """
    from eval.face_clips import FaceClips
    from latentsync.device import resolve_device

    videos = find_videos(options.videos)
    metric = scorers()[options.scorer]
    missing = not_measured_line(metric)
    if missing is not None:
        raise CheckpointError(f"{missing}: run python -m scripts.download_weights --training, or choose --scorer")
    device = resolve_device(options.device)
    measure = metric.load(device)
    measured: dict[str, dict[str, float]] = {}
    errors: dict[str, str] = {}
    with ExitStack() as stack:
        cache = options.cache_dir or stack.enter_context(temporary_folder(remedy="set TMPDIR to another folder"))
        clips = stack.enter_context(FaceClips(cache, device, options.detector))
        for video in tqdm(videos, disable=None, unit="video"):
            try:
                measured[str(video)] = measure(Pair(video.stem, video, video, options.audio or video), clips)
            except LatentSyncError as error:
                errors[str(video)] = str(error)
    names = [quantity.name for quantity in metric.quantities]
    return {
        "scorer": options.scorer,
        "detector": clips.detector_name,
        "num_judged": len(measured),
        "num_not_judged": len(errors),
        "means": {name: float(np.mean([one[name] for one in measured.values()])) for name in names} if measured else {},
        "videos": measured,
        "not_judged": errors,
    }


def find_videos(sources: Sequence[Path]) -> list[Path]:
    """Return the videos among the sources and in the folders and lists among them; raise InputError without any."""
    videos: list[Path] = []
    for source in sources:
        is_video = source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES
        videos += [source] if is_video else list_clips(source)
    if not videos:
        raise InputError("no video is named: give files or folders with --videos")
    return list(dict.fromkeys(videos))


def lines(report: dict) -> list[str]:
    """Return the report as lines of text."""
    rows = [f"{video}: {_shown(values)}" for video, values in report["videos"].items()]
    rows += [f"{video}: not scored: {reason}" for video, reason in report["not_judged"].items()]
    rows.append(f"{report['num_judged']} scored, {report['num_not_judged']} not; faces by {report['detector']}")
    if report["num_judged"]:
        rows.append(f"mean: {_shown(report['means'])}")
    return rows


def _shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="eval_sync_conf.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--videos",
        type=Path,
        nargs="+",
        required=True,
        help="videos, folders of videos, or lists with one path per line",
    )
    add("--audio", type=Path, help="score every video with this audio (default: its own)")
    add("--scorer", choices=SCORERS, default=SCORERS[0], help="default: %(default)s")
    add("--detector", choices=DETECTORS, default="auto", help="face detector (default: %(default)s)")
    add("--cache_dir", type=Path, help="folder for face positions (default: a temporary folder)")
    add("--out", type=Path, help="JSON file of the report")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
