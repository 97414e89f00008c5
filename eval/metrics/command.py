"""Command line of every metric: ``python -m eval.metrics.ssim RESULT REFERENCE``."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from eval.face_clips import FaceClips
from eval.frechet import FeatureStatistics
from eval.metrics.metric import AnyMetric, Metric, SetMetric, not_measured_line
from eval.pairs import Pair
from latentsync import cli
from latentsync.device import resolve_device
from latentsync.errors import LatentSyncError
from latentsync.face.detector import DETECTORS
from latentsync.storage.temporary_files import temporary_folder


def run_command(metric: AnyMetric, arguments: Sequence[str] | None = None) -> int:
    """Measure one video, print the values as JSON, and return the exit code."""
    options = _parser(metric).parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    pair = Pair(
        name=options.result.stem,
        result=options.result,
        source=options.source or options.reference or options.result,
        audio=options.audio or options.result,
        reference=options.reference,
        report=options.report,
    )
    return cli.run_command(lambda: _print(measure(metric, pair, options)))


def _print(report: dict) -> int:
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0


def measure(metric: AnyMetric, pair: Pair, options: argparse.Namespace) -> dict:
    """Return the values of one pair and their units.

    Raises:
        LatentSyncError: a file is invalid, weights are missing, or the pair cannot be measured.
    """
    missing = not_measured_line(metric)
    if missing is not None:
        raise LatentSyncError(missing)
    device = resolve_device(options.device)
    with ExitStack() as stack:
        cache = options.cache_dir or stack.enter_context(temporary_folder(remedy="set TMPDIR to another folder"))
        clips = stack.enter_context(FaceClips(cache, device, options.detector))
        units = {quantity.name: quantity.unit for quantity in metric.quantities}
        if isinstance(metric, SetMetric):
            return _measure_set(metric, pair, clips) | {"units": units}
        if isinstance(metric, Metric):
            return metric.load(device)(pair, clips) | {"units": units}
    raise TypeError(f"{metric.name} is neither a Metric nor a SetMetric")


def _measure_set(metric: SetMetric, pair: Pair, clips: FaceClips) -> dict:
    loaded = metric.load(clips.device)
    generated, real = FeatureStatistics(loaded.num_features), FeatureStatistics(loaded.num_features)
    for statistics, features in zip((generated, real), loaded.features(pair, clips), strict=True):
        statistics.add(features)
    found = loaded.values(generated, real)
    counts = {"num_generated": found.num_generated, "num_real": found.num_real}
    return found.values | counts | {"warning": found.warning}


def _parser(metric: AnyMetric) -> argparse.ArgumentParser:
    lines = [f"  {one.name}{f' ({one.unit})' if one.unit else ''}: {one.description}" for one in metric.quantities]
    parser = cli.OneLineParser(
        prog=f"python -m eval.metrics.{metric.name}",
        description=metric.description,
        epilog="\n".join(["values:", *lines, "", metric.protocol]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("result", type=Path, metavar="RESULT", help="the generated video")
    parser.add_argument("reference", type=Path, nargs="?", metavar="REFERENCE", help="ground truth of the result")
    parser.add_argument("--source", type=Path, help="the source video (default: REFERENCE, else RESULT)")
    parser.add_argument("--audio", type=Path, help="the driving audio (default: the audio of RESULT)")
    parser.add_argument("--report", type=Path, help="JSON record of the generation")
    parser.add_argument("--detector", choices=DETECTORS, default="auto", help="face detector (default: %(default)s)")
    parser.add_argument("--cache_dir", type=Path, help="folder for face positions (default: a temporary folder)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser
