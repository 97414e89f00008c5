"""Raw videos to training clips in eight steps: ``./data_processing_pipeline.sh --help``."""

import argparse
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType

from omegaconf import OmegaConf

from latentsync.config import load_config
from latentsync.data.content_key import content_key
from latentsync.errors import InputError, LatentSyncError
from preprocess.command_line import EXIT_BAD_INPUT, build_parser
from preprocess.dry_run import describe_plan
from preprocess.executor import Executor
from preprocess.file_lists import write_file_lists
from preprocess.inputs import FileList, FolderScan, scan_folder
from preprocess.local_executor import LocalExecutor
from preprocess.manifest import Manifest
from preprocess.plan import PlannedStep, find_weights, parse_numbers, plan_steps
from preprocess.progress import Progress, funnel_lines
from preprocess.raw_clips import ContentKeys
from preprocess.runner import Runner, keys_path
from preprocess.settings import NUM_STEPS, PreprocessConfig, build_steps
from preprocess.workspace import open_workspace


class Stopped(BaseException):
    """Ctrl-C or SIGTERM.

    exit_code: what a shell expects then.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit status: 0, 2 where it cannot go on, 130 or 143 where it was stopped."""
    options = build_parser().parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        run(options)
    except Stopped as stopped:
        sys.stderr.write("stopped; the same command goes on\n")
        return stopped.exit_code
    except (LatentSyncError, OSError, sqlite3.Error) as error:
        if options.debug:
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_BAD_INPUT
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run in order, a second one at once (which does no harm either)."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


def run(options: argparse.Namespace) -> None:
    """Runs the steps, or says what would be run."""
    config = load_config(options.config, PreprocessConfig, [*_shortcuts(options), *options.overrides])
    numbers = parse_numbers(options.steps, NUM_STEPS)
    steps = build_steps(config)[: max(numbers)]
    raw_files, num_raw_files = _raw_files(options, numbers)
    root = options.output_dir.absolute()
    if options.dry_run:
        sys.stdout.write(f"{OmegaConf.to_yaml(OmegaConf.structured(config))}output_dir: {root}\n")
        plan = plan_steps(steps, config.skip_steps, content_key)
        sys.stdout.write("\n".join(describe_plan(plan, numbers, root)) + "\n")
        return
    for step in steps:
        if step.number not in config.skip_steps:
            find_weights(step)
    with open_workspace(root) as workspace:
        with ContentKeys(keys_path(root)) as keys:
            plan = plan_steps(steps, config.skip_steps, keys.of_file)
        runner = Runner(workspace, _build_executor(options, workspace.logs), Progress(), options.retry_failed)
        runner.run(plan, numbers, raw_files, num_raw_files)
        if numbers[-1] == NUM_STEPS:
            _list_clips(plan[-1], root, config)
    manifests = Manifest.existing(root)
    sys.stdout.write("\n".join(funnel_lines(manifests)) + "\n")


def _shortcuts(options: argparse.Namespace) -> list[str]:
    """Options that stand for keys of the configuration."""
    overrides = []
    if options.resolution is not None:
        overrides.append(f"resolution={options.resolution}")
    if options.sync_scorer is not None:
        overrides.append(f"sync.scorer={options.sync_scorer}")
    if options.skip_steps is not None:
        overrides.append(f"skip_steps=[{','.join(map(str, parse_numbers(options.skip_steps, NUM_STEPS)))}]")
    return overrides


def _raw_files(options: argparse.Namespace, numbers: Sequence[int]) -> tuple[Iterable[Path], int]:
    """The raw files and their number, which it says."""
    if 1 not in numbers:
        if options.limit is not None:
            raise InputError("--limit counts raw files, which go into step 1: add it to --steps, or leave --limit out")
        return (), 0
    source = _source(options)
    num_files = sum(1 for _ in islice(source, options.limit))
    if num_files == 0:
        raise InputError(f"{options.input_dir or options.input_list} names no video file: put some there")
    sys.stdout.write(f"input: {num_files} files{_left_out(source)}\n")
    return islice(source, options.limit), num_files


def _source(options: argparse.Namespace) -> FolderScan | FileList:
    if (options.input_dir is None) == (options.input_list is None):
        raise InputError("step 1 needs raw videos: give --input_dir or --input_list, one of the two")
    if options.input_list is not None:
        return FileList(options.input_list)
    return scan_folder(options.input_dir, options.output_dir)


def _left_out(source: FolderScan | FileList) -> str:
    if isinstance(source, FileList):
        return ""
    text = f"; {source.num_others} files that are no videos are left out" if source.num_others else ""
    if source.unreadable:
        text += f"; {len(source.unreadable)} folders cannot be read, such as {source.unreadable[0]}"
    return text


def _build_executor(options: argparse.Namespace, logs: Path) -> Executor:
    limits = (options.num_workers, options.clip_timeout_s, options.memory_limit_gb)
    if options.executor == "local":
        return LocalExecutor(logs, *limits)
    from preprocess.ray_executor import RayExecutor  # Ray is an optional extra

    return RayExecutor(logs, options.ray_address, *limits)


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
