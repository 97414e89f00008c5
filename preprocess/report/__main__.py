"""Write the report on a run of the data pipeline: ``python -m preprocess.report OUT``."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder
from preprocess.report.collect import read_funnel
from preprocess.report.content import page_blocks
from preprocess.report.pages import to_html, to_markdown
from preprocess.store.database import disk_errors

PROGRAM = "data report"
_REMEDY = "name another with --out"
_HEAD_CHARS = 1000


def write_report(output: Path, folder: Path) -> list[Path]:
    """Write report.md, report.html and images/*.png into ``folder`` and return the paths of the two pages.

    Args:
        output: output folder of a run, finished or in progress.
        folder: folder of the report; created if it is missing. An older report in it is replaced.

    Raises:
        InputError: ``output`` contains no run, or ``folder`` contains other files or cannot be written.
    """
    with disk_errors(output):
        funnel = read_funnel(output)
    claim_folder(folder, PROGRAM, _REMEDY, _is_of_older_version)
    try:
        (folder / "images").mkdir(exist_ok=True)
        blocks = list(page_blocks(funnel, folder / "images"))
        pages = {"report.md": to_markdown(blocks, folder), "report.html": to_html(blocks, f"Report on {output}")}
        for name, text in pages.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}): {_REMEDY}") from error
    return [folder / name for name in pages]


def _is_of_older_version(folder: Path) -> bool:
    try:
        head = (folder / "report.html").read_text(encoding="utf-8")[:_HEAD_CHARS]
    except (OSError, UnicodeDecodeError):
        return False
    return "<title>Report on " in head and (folder / "images").is_dir()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 2 for bad input."""
    parser = OneLineParser(
        prog="python -m preprocess.report",
        description="Write a report on a run of the data pipeline: kept and rejected clips, their reasons and metrics.",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the --output_dir of the pipeline")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the report (default: OUT/report)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    pages = write_report(options.output, options.out or options.output / "report")
    sys.stdout.write("".join(f"wrote {page}\n" for page in pages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
