"""The options of the data pipeline."""

import argparse
import math
from pathlib import Path

from latentsync.cli import OneLineParser
from latentsync.weights import REPOSITORY_ROOT

_DEFAULT_CONFIG = REPOSITORY_ROOT / "configs" / "preprocess" / "default.yaml"


def build_parser() -> argparse.ArgumentParser:
    """The command line; parse it with `parse_intermixed_args`, so that ``key=value`` may stand anywhere."""
    parser = OneLineParser(
        prog="data_processing_pipeline.sh",
        description="Turns raw videos into training clips, in eight steps. The same command again goes on where the "
        "last run stopped.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input_dir", type=Path, help="folder of raw videos, searched to its depths; nothing in it is changed")
    add("--input_list", type=Path, metavar="FILE", help="instead: a text file with one path a line")
    add("--output_dir", type=Path, required=True, help="takes the clips of every step, the manifests and the lists")
    add("--config", type=Path, default=_DEFAULT_CONFIG, help="the YAML (default: %(default)s)")
    add("overrides", nargs="*", metavar="key=value", help="changes, e.g. segments.max_s=8")
    add("--resolution", type=int, help="side of the clips in pixels, and the smallest face (key resolution)")
    add("--sync_scorer", choices=("syncnet_v2", "stable_syncnet"), help="judge of step 7 (key sync.scorer)")
    add("--skip_steps", metavar="STEPS", help="steps that let all clips pass, e.g. 8 (key skip_steps)")
    add("--steps", default="1-8", help="run these only, e.g. 3-6 or 5; those before must have been run")
    add("--limit", type=positive_int, metavar="N", help="take the first N raw files only")
    add("--retry_failed", action="store_true", help="try clips again that failed in an earlier run")
    add("--dry_run", action="store_true", help="check all that can be checked, show it, and stop")
    add("--debug", action="store_true", help="show where an error came from")
    work = parser.add_argument_group("workers")
    work.add_argument("--executor", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster")
    work.add_argument("--ray_address", help="of the cluster (default: the one Ray finds)")
    work.add_argument("--num_workers", type=positive_int, help="default: one a core, or one a GPU where a step uses it")
    work.add_argument("--clip_timeout_s", type=positive, default=1800.0, help="a clip that takes longer fails")
    work.add_argument("--memory_limit_gb", type=positive, help="a clip that takes more memory (GiB) fails")
    return parser


def positive_int(text: str) -> int:
    """A whole number from 1 of the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def positive(text: str) -> float:
    """A finite number above 0 of the command line."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
