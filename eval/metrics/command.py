"""The command line that every metric has: ``python -m eval.metrics.ssim RESULT REFERENCE``."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from eval.face_clips import FaceClips
from eval.feature_statistics import FeatureStatistics
from eval.metrics.metric import AnyMetric, Metric, Sample, SetMetric, not_measured_line
from latentsync import cli
from latentsync.device import resolve_device
from latentsync.errors import LatentSyncError
from latentsync.face.detector import DETECTORS
from latentsync.storage.temporary_files import temporary_folder


def run_command(metric: AnyMetric, arguments: Sequence[str] | None = None) -> int:
    """Measures one video as the command line says and prints the figures as JSON; returns the exit status."""
    options = _parser(metric).parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sample = Sample(
        name=options.result.stem,
        result=options.result,
        source=options.source or options.reference or options.result,
        reference=options.reference,
        audio=options.audio or options.result,
        report=options.report,
    )
    return cli.run_command(lambda: _print(measure(metric, sample, options)))


def _print(report: dict) -> int:
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0


def measure(metric: AnyMetric, sample: Sample, options: argparse.Namespace) -> dict:
    """Figures of one sample with their units.

    Raises:
        LatentSyncError: a file cannot be used, weights are missing, or the sample cannot be judged.
    """
    missing = not_measured_line(metric)
    if missing is not None:
        raise LatentSyncError(missing)
    device = resolve_device(options.device)
    with ExitStack() as stack:
        cache = options.cache_dir or stack.enter_context(temporary_folder(remedy="set TMPDIR to another folder"))
        clips = stack.enter_context(FaceClips(cache, device, options.detector))
        units = {figure.name: figure.unit for figure in metric.figures}
        if isinstance(metric, SetMetric):
            return _measure_set(metric, sample, clips) | {"units": units}
        if isinstance(metric, Metric):
            return metric.load(device)(sample, clips) | {"units": units}
    raise TypeError(f"{metric.name} is neither a Metric nor a SetMetric")


def _measure_set(metric: SetMetric, sample: Sample, clips: FaceClips) -> dict:
    judge = metric.load(clips.device)
    generated, real = FeatureStatistics(judge.num_features), FeatureStatistics(judge.num_features)
    for statistics, features in zip((generated, real), judge.features(sample, clips), strict=True):
        statistics.add(features)
    figures = judge.figures(generated, real)
    counts = {"num_generated": figures.num_generated, "num_real": figures.num_real}
    return figures.values | counts | {"warning": figures.warning}


def _parser(metric: AnyMetric) -> argparse.ArgumentParser:
    lines = [f"  {one.name}{f' ({one.unit})' if one.unit else ''}: {one.description}" for one in metric.figures]
    parser = cli.OneLineParser(
        prog=f"python -m eval.metrics.{metric.name}",
        description=metric.description,
        epilog="\n".join(["figures:", *lines, "", metric.protocol]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("result", type=Path, metavar="RESULT", help="the generated video")
    parser.add_argument("reference", type=Path, nargs="?", metavar="REFERENCE", help="what it should look like")
    parser.add_argument("--source", type=Path, help="the video it was made from (default: REFERENCE, else RESULT)")
    parser.add_argument("--audio", type=Path, help="the driving speech (default: the result's sound)")
    parser.add_argument("--report", type=Path, help="the JSON record of its making")
    parser.add_argument("--detector", choices=DETECTORS, default="auto", help="finds the face")
    parser.add_argument("--cache_dir", type=Path, help="keep where the faces are here (else it is thrown away)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser
