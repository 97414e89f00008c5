"""Scores generated videos and writes numbers, uncertainty and pictures.

    python -m eval.run --pairs pairs.csv --metrics all --out report/

`pairs.csv` has the columns name,result,source,audio and optionally reference,report,protocol,row, with paths relative
to itself (`python -m eval.inference_videos` writes one). The same command again measures only what is new.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.face_clips import FaceClips
from eval.metrics.metric import AnyMetric
from eval.metrics.registry import choose_metrics
from eval.pairs import Pair, read_pair_lists
from eval.report.folder import RESULTS, report_folder
from eval.report.html import write_html
from eval.report.markdown import write_markdown
from eval.report.pictures import draw_pictures
from eval.results import Results, write_results
from eval.runner import Settings, evaluate
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_device
from latentsync.face.detector import DETECTORS

WHEN_STOPPED = "the same command goes on from here"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command: 0 when the report is written (failed videos are in it), 2 after an error."""
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
    """Evaluates and writes results.json, report.md, report.html and pictures/ into `options.out`.

    Args:
        pairs: the videos.
        metrics: what is measured.
        options: as `build_parser` reads them.
        cache: folder for what is kept for the next run.

    Raises:
        LatentSyncError: the output cannot be written, or with --strict weights are missing.
    """
    out: Path = options.out
    device = resolve_device(options.device)
    settings = Settings(cache, device, options.seed, options.strict)
    with FaceClips(settings.cache, device, options.detector) as clips:
        results = evaluate(pairs, metrics, settings, clips)
        write_results(results, out / RESULTS)
        pictures = draw_pictures(results, pairs, clips, out)
    write_markdown(results, pictures, out / "report.md")
    write_html(results, pictures, out, out / "report.html")
    return results


def limited(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """The pairs of the first so many names of every protocol and row; all of them for 0."""
    counts: dict[tuple[str, str], int] = {}
    chosen = []
    for pair in pairs:
        group = (pair.protocol, pair.row)
        counts[group] = counts.get(group, 0) + 1
        if limit == 0 or counts[group] <= limit:
            chosen.append(pair)
    return chosen


def closing_lines(results: Results, out: Path) -> str:
    """What was done, for a person."""
    run_facts = results.run
    failed = sum(video.error is not None for video in results.videos)
    lines = [
        f"{len(results.videos)} videos, {failed} failed; {run_facts['num_measured']} judgements made, "
        f"{run_facts['num_kept']} kept from before; {run_facts['wall_seconds']:.1f} s",
        *(f"{one.name}: {one.not_measured}" for one in results.metrics if one.not_measured),
        f"wrote {out / 'report.html'}, report.md, results.json",
    ]
    return "\n".join(lines)


def build_parser(description: str, program: str) -> argparse.ArgumentParser:
    """The options that judging videos has, also as a part of another command."""
    parser = OneLineParser(
        prog=program,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", type=Path, nargs="+", required=True, help="CSV of the videos; of several lists, all of them")
    add("--metrics", default="all", help="all, or names with commas between them (default: %(default)s)")
    add("--out", type=Path, required=True, help="folder of the report, and of what is kept for the next run")
    add("--cache", type=Path, help="keep what is measured here, to share it between reports (default: OUT/cache)")
    add("--strict", action="store_true", help="missing weights of a metric are an error")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--detector", choices=DETECTORS, default="auto", help="finds the faces (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    add("--limit", type=int, default=0, help="only the first so many videos of every row (0: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
