"""Measure a SyncNet on held-out clips: ``./eval/eval_syncnet_acc.sh --config YAML --checkpoint PT --clips CLIPS``.

Video windows are taken at evenly spaced times of every clip. Each is compared with its own audio (a positive) and with
the audio of all other windows of its clip that begin at least `data.min_offset_frames` away (negatives).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from eval.stored_results import write_report
from latentsync.cli import OneLineParser, run_command
from latentsync.data.clip_list import list_clips
from latentsync.storage.output_file import check_output_file
from latentsync.storage.temporary_files import temporary_folder

if TYPE_CHECKING:
    from latentsync.training.sync_accuracy import ClipScores

_NUM_RESAMPLES = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.out is not None:
        given = [options.config, options.checkpoint, options.clips, *list_clips(options.clips)]
        check_output_file(options.out, given)
    report = evaluate(options)
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    write_report(report, options.out)
    return 0


def evaluate(options: argparse.Namespace) -> dict:
    """Return the report: inputs, metrics (`latentsync.training.sync_accuracy.accuracy_metrics`) and their intervals.

    Raises:
        LatentSyncError: configuration, weights or clips are invalid.
    """
    import torch  # after --help, like what follows

    from latentsync.config import load_config
    from latentsync.data.clip_check import check_clips
    from latentsync.data.prepare_features import prepare_features
    from latentsync.device import resolve_device
    from latentsync.models.checkpoint import load_syncnet
    from latentsync.recipes.syncnet_run import SyncNetRun, check_syncnet_shapes
    from latentsync.recipes.train_syncnet import syncnet_codec, syncnet_features
    from latentsync.training.sync_accuracy import SyncAccuracy, accuracy_metrics

    run = load_config(options.config, SyncNetRun, options.overrides)
    run.training.device = options.device
    codec = syncnet_codec(run)
    check_syncnet_shapes(run, codec)
    device = resolve_device(options.device)
    syncnet = load_syncnet(run.model, options.checkpoint, device, torch.float32).eval()
    with temporary_folder(remedy="set TMPDIR to another folder") as scratch:
        run.data.cache_dir = options.cache_dir or str(scratch)
        features = syncnet_features(run, codec)
        paths = list_clips(options.clips)[: options.num_clips or None]
        check = check_clips(paths, run.data.min_frames, run.data.video_fps, cache=features.cache.folder)
        if codec is not None:
            prepare_features(check.usable, features, codec=codec)
        accuracy = SyncAccuracy(features, run.data, options.windows_per_clip)
        scores = [accuracy.score(syncnet, clip) for clip in tqdm(check.usable, disable=None, unit="clip")]
    return {
        "config": str(options.config),
        "checkpoint": str(options.checkpoint),
        "clips": str(options.clips),
        "num_clips": len(scores),
        "num_skipped": len(check.skipped),
        "windows_per_clip": options.windows_per_clip,
        "min_offset_frames": run.data.min_offset_frames,
        **accuracy_metrics(scores),
        "interval_95": intervals(scores),
        "offsets": [one.offset for one in scores],
    }


def intervals(scores: Sequence[ClipScores]) -> dict[str, list[float]]:
    """Return 95 % bootstrap intervals over clips by the name of the value; windows of a clip are not separated."""
    from latentsync.training.sync_accuracy import accuracy_metrics

    rng = np.random.default_rng(0)
    names = ("sync_loss", "accuracy", "best_accuracy", "area_under_curve", "offset_zero")
    draws = [
        accuracy_metrics([scores[i] for i in rng.integers(len(scores), size=len(scores))])
        for _ in range(_NUM_RESAMPLES)
    ]
    return {name: np.quantile([draw[name] for draw in draws], [0.025, 0.975]).round(4).tolist() for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="eval_syncnet_acc.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML of the SyncNet, such as configs/demo/syncnet.yaml"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights of the SyncNet")
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips, or a text file of paths")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as data.min_offset_frames=5")
    parser.add_argument("--out", type=Path, help="JSON file of the report, which is also printed")
    parser.add_argument("--num_clips", type=int, default=0, help="only the first N clips (0: all)")
    parser.add_argument("--windows_per_clip", type=int, default=16, help="video windows per clip")
    parser.add_argument("--cache_dir", help="folder for decoded clips and mels (default: a temporary folder)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
