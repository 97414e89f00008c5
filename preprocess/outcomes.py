"""What became of every raw video: ``python -m preprocess.outcomes OUT`` prints a Markdown table.

For each file, in the order of names: the steps at which its clips ended, the reasons, and the numbers of clips.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from preprocess.store.database import disk_errors
from preprocess.store.manifest import Manifest

KEPT = "kept"

Outcomes = Counter[tuple[int, str]]
"""Number of clips of one raw video by (number of the step at which they ended, reason); reason `KEPT` after the last
step."""


def read_outcomes(output: Path) -> dict[Path, Outcomes]:
    """Return the outcomes of every raw video of the last run; memory holds a few words per raw video.

    Raises:
        InputError: the folder contains no run of the pipeline.
    """
    with ExitStack() as stack:
        manifests = [stack.enter_context(manifest) for manifest in Manifest.existing(output)]
        if not manifests:
            raise InputError(f"{output} contains no manifests: name the --output_dir of data_processing_pipeline.sh")
        outcomes: dict[Path, Outcomes] = {}
        raw_files: dict[str, Path] = {}
        for row in manifests[0].iter_rows():
            outcomes[row.input_path] = Outcomes()
            raw_files.setdefault(row.source, row.input_path)
            if row.status != "done":
                outcomes[row.input_path][_step_number(manifests[0]), row.reason] += 1
        for manifest in manifests[1:]:
            for row in manifest.iter_rows():
                if row.status != "done":
                    outcomes[raw_files[row.source]][_step_number(manifest), row.reason] += 1
        for clip in manifests[-1].iter_outputs():
            outcomes[raw_files[clip.source]][_step_number(manifests[-1]), KEPT] += 1
        return outcomes


def format_table(outcomes: Mapping[Path, Outcomes]) -> list[str]:
    """Return the lines of the Markdown table."""
    lines = ["| file | last step | what became of it | clips |", "|---|---|---|---|"]
    for path in sorted(outcomes):
        for (step, reason), count in sorted(outcomes[path].items()):
            lines.append(f"| `{path.name}` | {step} | {reason} | {count} |")
    return lines


def _step_number(manifest: Manifest) -> int:
    record = manifest.step
    if record is None:
        raise InputError("a manifest names no step: run the same pipeline command again")
    return record.number


def main() -> int:
    """Print the table and return the exit status."""
    parser = OneLineParser(prog="python -m preprocess.outcomes", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT", help="the --output_dir of the pipeline")
    output = parser.parse_args().output
    return run_command(lambda: _print_table(output))


def _print_table(output: Path) -> int:
    with disk_errors(output):
        print("\n".join(format_table(read_outcomes(output))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
