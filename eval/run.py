"""Evaluate generated videos and write values, confidence intervals and images.

    python -m eval.run --pairs pairs.csv --metrics all --out report/

`pairs.csv` has the columns name,result,source,audio and optionally reference,report,protocol,row, with paths relative
to itself (`python -m eval.inference_videos` writes one). Repeating the command measures only new videos.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eval.metrics.metric import AnyMetric, choose_metrics
from eval.pairs import Pair, read_pair_lists
from eval.report.html import write_html
from eval.report.images import draw_images
from eval.report.markdown import write_markdown
from eval.results import RESULTS, Results, write_results
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.executors.arguments import ExecutorArguments
from latentsync.face.detector import DETECTORS
from latentsync.storage.owned_folder import claim_folder, locked

PROGRAM = "evaluation report"
WORKERS = ExecutorArguments("pair")
CACHE, DAMAGED = "cache", "damaged"
WHEN_STOPPED = "repeat the command to resume"
_REMEDY = "name another --out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if the report was written (even if it lists failed videos), 2 after an error."""
    options = build_parser(__doc__ or "", "python -m eval.run").parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped=WHEN_STOPPED)


def _main(options: argparse.Namespace) -> int:
    pairs = limited(read_pair_lists(options.pairs), options.limit)
    metrics = choose_metrics(options.metrics)
    with report_folder(options) as cache:
        results = run(pairs, metrics, options, cache)
    print(closing_lines(results, options.out))
    return 0


def run(pairs: Sequence[Pair], metrics: Sequence[AnyMetric], options: argparse.Namespace, cache: Path) -> Results:
    """Evaluate and write results.json, report.md, report.html and pictures/ into `options.out`.

    Args:
        pairs: the videos.
        metrics: the metrics.
        options: parsed by `build_parser`.
        cache: folder of results stored between runs.

    Raises:
        LatentSyncError: the output is not writable, or weights are missing and --strict is set.
    """
    from eval.evaluation import evaluate  # these import torch, which --help does without
    from eval.face_clips import FaceClips
    from eval.video_measurement import Settings
    from latentsync.device import resolve_device

    out: Path = options.out
    executor, device = WORKERS.build(options), resolve_device(options.device)
    settings = Settings(cache, device, options.seed, options.strict)
    with FaceClips(settings.cache, device, options.detector) as clips:
        results = evaluate(pairs, metrics, settings, clips, executor)
        write_results(results, out / RESULTS)
        images = draw_images(results, pairs, clips, out)
    write_markdown(results, images, out / "report.md")
    write_html(results, images, out, out / "report.html")
    return results


@contextmanager
def report_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Claim and lock `options.out` for this run, create the cache folder, and yield the latter.

    Raises:
        InputError: the folder holds files of other programs, is in use by another run, or is not writable.
    """
    claim_folder(options.out, PROGRAM, _REMEDY, _is_of_older_version)
    cache: Path = options.cache or options.out / CACHE
    with locked(options.out, f"wait for it, or {_REMEDY}"):
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{cache} cannot be written ({error.strerror}): name another --cache") from error
        yield cache


def _is_of_older_version(folder: Path) -> bool:
    """Return True if the folder holds a report, or only the files that exist before a report is written."""
    try:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set(os.listdir(folder)) <= {CACHE, DAMAGED}
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "run", "metrics", "videos", "sets", "making"} <= content.keys()


def limited(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Return the first `limit` pairs of every protocol and row, or all pairs if `limit` is 0."""
    counts: dict[tuple[str, str], int] = {}
    chosen = []
    for pair in pairs:
        group = (pair.protocol, pair.row)
        counts[group] = counts.get(group, 0) + 1
        if limit == 0 or counts[group] <= limit:
            chosen.append(pair)
    return chosen


def closing_lines(results: Results, out: Path) -> str:
    """Return the summary that the command prints."""
    facts = results.run
    failed = sum(video.error is not None for video in results.videos)
    lines = [
        f"{len(results.videos)} videos, {failed} failed; {facts['num_measured']} measurements made, "
        f"{facts['num_kept']} kept from before; {facts['wall_seconds']:.1f} s",
        *(f"{one.name}: {one.not_measured}" for one in results.metrics if one.not_measured),
        f"wrote {out / 'report.html'}, report.md, results.json",
    ]
    return "\n".join(lines)


def build_parser(description: str, program: str) -> argparse.ArgumentParser:
    """Return a parser with the options of an evaluation, to which another command may add its own."""
    parser = OneLineParser(
        prog=program,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", type=Path, nargs="+", required=True, help="one or more CSV files that list the videos")
    add("--metrics", default="all", help="all, or comma-separated names (default: %(default)s)")
    add("--out", type=Path, required=True, help="folder of the report and of the results stored between runs")
    add("--cache", type=Path, help="folder of the stored results, to share them between reports (default: OUT/cache)")
    add("--strict", action="store_true", help="missing weights of a metric are an error")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--detector", choices=DETECTORS, default="auto", help="face detector (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    add("--limit", type=int, default=0, help="only the first N videos of every row (0: all)")
    WORKERS.add_to(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
