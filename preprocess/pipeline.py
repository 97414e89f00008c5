"""Command of the data pipeline, which converts raw videos into training clips: ``./data_processing_pipeline.sh``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.executors.arguments import LOCAL, ExecutorArguments, positive_integer
from latentsync.storage.content_cache import content_key
from latentsync.weights import REPOSITORY_ROOT
from preprocess.file_lists import write_file_lists
from preprocess.progress import Progress, funnel_lines
from preprocess.raw_videos import FileList, FolderScan, read_list, scan_folder
from preprocess.step import NUM_STEPS
from preprocess.store.content_keys import ContentKeys, keys_path
from preprocess.store.database import disk_errors
from preprocess.store.manifest import Manifest
from preprocess.store.workspace import LOG_FOLDER, check_output, open_workspace

if TYPE_CHECKING:  # these import torch, which --help does without
    from latentsync.executors.base import Executor
    from preprocess.config import PreprocessConfig
    from preprocess.plan import PlannedStep
    from preprocess.step import Step

_DEFAULT_CONFIG = REPOSITORY_ROOT / "configs" / "preprocess" / "default.yaml"
_WHEN_STOPPED = "the same command resumes"
WORKERS = ExecutorArguments("clip", "--num_workers", default=LOCAL, timeout_s=1800.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 2 for bad input, above 128 after a signal."""
    options = build_parser().parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: run(options), options.debug, _WHEN_STOPPED)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; use its `parse_intermixed_args`, so that ``key=value`` may stand anywhere on the line."""
    parser = OneLineParser(
        prog="data_processing_pipeline.sh",
        description="Convert raw videos into training clips in eight steps. Run the same command again to resume.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input_dir", type=Path, help="folder of raw videos, searched with its subfolders; nothing in it is changed")
    add("--input_list", type=Path, metavar="FILE", help="instead: a text file with one path per line")
    add("--output_dir", type=Path, required=True, help="folder for the clips of every step, manifests and lists")
    add("--config", type=Path, default=_DEFAULT_CONFIG, help="the YAML (default: %(default)s)")
    add("overrides", nargs="*", metavar="key=value", help="changed settings, e.g. segments.max_s=8")
    add("--resolution", type=int, help="side of the clips in pixels, and minimum size of a face (key resolution)")
    add("--sync_scorer", choices=("syncnet_v2", "stable_syncnet"), help="scorer of step 7 (key sync.scorer)")
    add("--skip_steps", metavar="STEPS", help="steps that pass all clips unchanged, e.g. 8 (key skip_steps)")
    add("--steps", default="1-8", help="run only these, e.g. 3-6 or 5; earlier steps must have been run")
    add("--limit", type=positive_integer, metavar="N", help="process the first N raw files only")
    add("--retry_failed", action="store_true", help="process clips again that failed in an earlier run")
    add("--dry_run", action="store_true", help="check the input, print what would run, and stop")
    add("--debug", action="store_true", help="show the traceback of an error")
    WORKERS.add_to(parser)
    return parser


@dataclass(frozen=True)
class CheckedRun:
    """A run whose options were checked; nothing is written yet.

    Attributes:
        config: settings.
        numbers: numbers of the steps to run.
        steps: all steps up to the last of them.
        raw_files, num_raw_files: input of step 1.
        root: the output folder, absolute.
        executor: executor of the tasks.
    """

    config: PreprocessConfig
    numbers: tuple[int, ...]
    steps: Sequence[Step]
    raw_files: Iterable[Path]
    num_raw_files: int
    root: Path
    executor: Executor

    def plan(self, weight_key: Callable[[Path], str]) -> list[PlannedStep]:
        """Return the steps with their keys.

        Args:
            weight_key: function that returns the content key of a weights file.

        Raises:
            InputError: a step before those to run has not been run with the same settings.
        """
        from preprocess.plan import plan_steps
        from preprocess.runner import check_earlier_steps

        plan = plan_steps(self.steps, self.config.skip_steps, weight_key)
        check_earlier_steps(plan, self.numbers, self.root)
        return plan


def check(options: argparse.Namespace) -> CheckedRun:
    """Check options, settings, input, weights and output folder without writing; used by real and dry runs.

    Raises:
        LatentSyncError: one of them cannot be used.
    """
    from latentsync.config import load_config
    from preprocess.config import PreprocessConfig, build_steps
    from preprocess.plan import find_weights, parse_numbers

    config = load_config(options.config, PreprocessConfig, [*_option_overrides(options), *options.overrides])
    numbers = parse_numbers(options.steps, NUM_STEPS)
    steps = build_steps(config)[: max(numbers)]
    root = options.output_dir.absolute()
    raw_files, num_raw_files = _find_raw_files(options, numbers)
    for step in steps:
        if step.number not in config.skip_steps:
            find_weights(step)
    executor = WORKERS.build(options, root / LOG_FOLDER)
    assert executor is not None  # there is a default
    check_output(root)
    return CheckedRun(config, numbers, steps, raw_files, num_raw_files, root, executor)


def run(options: argparse.Namespace) -> int:
    """Run the steps, or print the plan of a dry run; return 0."""
    from omegaconf import OmegaConf

    from preprocess.plan import describe_plan
    from preprocess.runner import Runner

    checked = check(options)
    root = checked.root
    if options.dry_run:
        lines = describe_plan(checked.plan(content_key), checked.numbers, root)
        sys.stdout.write(f"{OmegaConf.to_yaml(OmegaConf.structured(checked.config))}output_dir: {root}\n")
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    with open_workspace(root) as workspace, disk_errors(root):
        with ContentKeys(keys_path(root)) as keys:
            plan = checked.plan(keys.of_file)
        runner = Runner(workspace, checked.executor, Progress(), options.retry_failed)
        runner.run(plan, checked.numbers, checked.raw_files, checked.num_raw_files)
        if checked.numbers[-1] == NUM_STEPS:
            _list_clips(plan[-1], root, checked.config)
        funnel = funnel_lines(Manifest.existing(root))
    sys.stdout.write("\n".join(funnel) + "\n")
    return 0


def _option_overrides(options: argparse.Namespace) -> list[str]:
    """Return the overrides of options that stand for keys of the configuration."""
    from preprocess.plan import parse_numbers

    overrides = []
    if options.resolution is not None:
        overrides.append(f"resolution={options.resolution}")
    if options.sync_scorer is not None:
        overrides.append(f"sync.scorer={options.sync_scorer}")
    if options.skip_steps is not None:
        overrides.append(f"skip_steps=[{','.join(map(str, parse_numbers(options.skip_steps, NUM_STEPS)))}]")
    return overrides


def _find_raw_files(options: argparse.Namespace, numbers: Sequence[int]) -> tuple[Iterable[Path], int]:
    """Return the raw files and their number; print the number."""
    if 1 not in numbers:
        if options.limit is not None:
            raise InputError("--limit counts raw files, which go into step 1: add it to --steps, or omit --limit")
        return (), 0
    source = _open_source(options)
    num_files = sum(1 for _ in islice(source, options.limit))
    if num_files == 0:
        raise InputError(f"{options.input_dir or options.input_list} names no video file: put some there")
    sys.stdout.write(f"input: {num_files} files{_describe_skipped(source)}\n")
    return islice(source, options.limit), num_files


def _open_source(options: argparse.Namespace) -> FolderScan | FileList:
    if (options.input_dir is None) == (options.input_list is None):
        raise InputError("step 1 needs raw videos: give --input_dir or --input_list, one of the two")
    if options.input_list is not None:
        return read_list(options.input_list, options.output_dir)
    return scan_folder(options.input_dir, options.output_dir)


def _describe_skipped(source: FolderScan | FileList) -> str:
    if isinstance(source, FileList):
        return ""
    text = f"; {source.num_others} files that are not videos are skipped" if source.num_others else ""
    if source.unreadable:
        text += f"; {len(source.unreadable)} folders cannot be read, such as {source.unreadable[0]}"
    return text


def _list_clips(planned: PlannedStep, root: Path, config: PreprocessConfig) -> None:
    assert planned.step.folder is not None
    folder = root / planned.step.folder
    with Manifest(planned.manifest_path(root), root) as manifest:
        listed = write_file_lists(manifest, folder, config.seed, config.validation_share)
    shown = os.path.normpath(folder)
    sys.stdout.write(
        f"{shown}: {listed.num_train} clips in train.txt, {listed.num_validation} in validation.txt, all in all.txt\n"
    )


if __name__ == "__main__":
    sys.exit(main())
