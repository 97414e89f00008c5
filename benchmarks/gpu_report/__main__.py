"""Measure one accelerator end to end and write a report as Markdown and JSON. Requires no network connection.

    python -m benchmarks.gpu_report --out runs/gpu_report

All weights are random, or the bundled ones of the demo. A section that fails is reported with its error, and the others
still run; cases beyond the time budget are reported as not measured. Exit code: 0, 1 if a case failed, 2 for invalid
input.
"""

import argparse
import logging
import sys
from pathlib import Path

from benchmarks.gpu_report import demo_training, inference, parity, throughput, training, unet_settings
from benchmarks.gpu_report.document import NAME, claim_report, write_report
from benchmarks.gpu_report.runner import run_sections
from benchmarks.gpu_report.section import FAILED, MEASURED, SIZES, Section, SectionResult, Setup
from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, run_command
from latentsync.device import resolve_device

SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (parity, inference, throughput, unet_settings, training, demo_training)
}
"""All sections in the order of the report."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog="python -m benchmarks.gpu_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/gpu_report"), help="folder of the report (default: %(default)s)")
    add("--minutes", type=float, default=9.0, help="total time of all sections (default: %(default)g)")
    add("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="(default: all)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--size", choices=list(SIZES), default="published", help="tiny tests the report within seconds")
    add("--one_process", action="store_true", help="run all sections in this process: a crash ends the report")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped="the report contains the finished sections")


def _main(options: argparse.Namespace) -> int:
    setup = Setup(SIZES[options.size], resolve_device(options.device))
    claim_report(options.out)
    done: list[SectionResult] = []

    def report(result: SectionResult) -> None:
        done.append(result)
        write_report(options.out, setup, done)
        counts = [sum(row.status == status for row in result.rows) for status in (MEASURED, FAILED)]
        print(
            f"{result.section.title}: {counts[0]} measured, {counts[1]} failed, "
            f"{len(result.rows) - sum(counts)} not measured; {result.seconds:.0f} s",
            flush=True,
        )

    chosen = [SECTIONS[name] for name in dict.fromkeys(options.sections)]
    run_sections(chosen, setup, 60 * options.minutes, options.one_process, report)
    print(f"wrote {options.out / NAME}.md and .json")
    return EXIT_SOME_FAILED if any(result.num_failed for result in done) else 0


if __name__ == "__main__":
    sys.exit(main())
