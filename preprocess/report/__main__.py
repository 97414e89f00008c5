"""``python -m preprocess.report OUT`` writes a report on the run of the pipeline in OUT."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)
from latentsync.atomic import written_whole
from latentsync.errors import InputError, LatentSyncError
from preprocess.report.content import page_blocks
from preprocess.report.funnel import read_funnel
from preprocess.report.pages import to_html, to_markdown

_EXIT_BAD_INPUT = 2


def write_report(output: Path, folder: Path) -> list[Path]:
    """Writes report.md, report.html and images/*.png into ``folder`` and returns the two pages.

    Args:
        output: the output folder of a run, finished or under way.
        folder: is made where it is not there; an older report in it is replaced.

    Raises:
        InputError: there is no run in ``output``, or ``folder`` cannot be written to.
    """
    funnel = read_funnel(output)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        blocks = list(page_blocks(funnel, folder / "images"))
        pages = {"report.md": to_markdown(blocks, folder), "report.html": to_html(blocks, f"Report on {output}")}
        for name, text in pages.items():
            with written_whole(folder / name) as beside:
                beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}): name another with --out") from error
    return [folder / name for name in pages]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m preprocess.report",
        description="Says what a run of the pipeline kept, what it did not, and why.",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the run's --output_dir")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: OUT/report)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        pages = write_report(options.output, options.out or options.output / "report")
    except LatentSyncError as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_BAD_INPUT
    sys.stdout.write("".join(f"wrote {page}\n" for page in pages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
