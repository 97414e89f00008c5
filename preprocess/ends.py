"""What became of every raw video: ``python -m preprocess.ends OUT`` prints a Markdown table.

For each file, in order of names, the steps at which its clips ended, the reason, and how many clips ended so.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from preprocess.manifest import Manifest
from preprocess.sqlite_file import disk_errors

KEPT = "kept"

Ends = Counter[tuple[int, str]]
"""How many clips of one raw video ended at (step, reason); reason `KEPT` after the last step."""


def ends_of(output: Path) -> dict[Path, Ends]:
    """Every raw video of the last run and what became of it; holds a few words per raw video.

    Raises:
        InputError: the folder holds no run of the pipeline.
    """
    with ExitStack() as stack:
        manifests = [stack.enter_context(manifest) for manifest in Manifest.existing(output)]
        if not manifests:
            raise InputError(f"{output} holds no manifests: name the --output_dir of data_processing_pipeline.sh")
        ends: dict[Path, Ends] = {}
        raw_files: dict[str, Path] = {}
        for row in manifests[0].iter_rows():
            ends[row.input_path] = Ends()
            raw_files.setdefault(row.source, row.input_path)
            if row.status != "done":
                ends[row.input_path][_number(manifests[0]), row.reason] += 1
        for manifest in manifests[1:]:
            for row in manifest.iter_rows():
                if row.status != "done":
                    ends[raw_files[row.source]][_number(manifest), row.reason] += 1
        for clip in manifests[-1].iter_outputs():
            ends[raw_files[clip.source]][_number(manifests[-1]), KEPT] += 1
        return ends


def table(ends: Mapping[Path, Ends]) -> list[str]:
    """The lines of the Markdown table."""
    lines = ["| file | last step | what became of it | clips |", "|---|---|---|---|"]
    for path in sorted(ends):
        for (step, reason), count in sorted(ends[path].items()):
            lines.append(f"| `{path.name}` | {step} | {reason} | {count} |")
    return lines


def _number(manifest: Manifest) -> int:
    record = manifest.step
    if record is None:
        raise InputError("a manifest has no step yet: run the pipeline again with the same line")
    return record.number


def main() -> int:
    """Prints the table."""
    parser = OneLineParser(prog="python -m preprocess.ends", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT", help="output folder of the pipeline")
    output = parser.parse_args().output
    return run_command(lambda: _print_table(output))


def _print_table(output: Path) -> int:
    with disk_errors(output):
        print("\n".join(table(ends_of(output))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
