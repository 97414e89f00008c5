"""Raw videos to training clips in eight steps: ``./data_processing_pipeline.sh --help``."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from omegaconf import OmegaConf

from latentsync.cli import run_command
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.storage.content_cache import content_key
from preprocess.command_line import build_parser
from preprocess.dry_run import describe_plan
from preprocess.executor import Executor
from preprocess.file_lists import write_file_lists
from preprocess.inputs import FileList, FolderScan, read_list, scan_folder
from preprocess.local_executor import LocalExecutor
from preprocess.manifest import Manifest
from preprocess.plan import PlannedStep, find_weights, parse_numbers, plan_steps
from preprocess.progress import Progress, funnel_lines
from preprocess.raw_clips import ContentKeys, keys_path
from preprocess.runner import Runner, check_earlier_steps
from preprocess.settings import NUM_STEPS, PreprocessConfig, build_steps
from preprocess.sqlite_file import disk_errors
from preprocess.step import Step
from preprocess.workspace import LOG_FOLDER, check_output, open_workspace

WHEN_STOPPED = "the same command goes on"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit status: 0, 2 where it cannot go on, 128 and more where a signal stopped it."""
    options = build_parser().parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: run(options), options.debug, WHEN_STOPPED)


@dataclass(frozen=True)
class CheckedRun:
    """What a run will do, as far as that can be known before it writes anything.

    Attributes:
        config: the settings.
        numbers: of the steps to run.
        steps: all steps up to the last of them.
        raw_files, num_raw_files: what goes into step 1.
        root: the output folder, absolute.
        executor: what runs the jobs.
    """

    config: PreprocessConfig
    numbers: tuple[int, ...]
    steps: Sequence[Step]
    raw_files: Iterable[Path]
    num_raw_files: int
    root: Path
    executor: Executor

    def plan(self, weight_key: Callable[[Path], str]) -> list[PlannedStep]:
        """The steps with their keys; `weight_key` gives the content key of a file of weights.

        Raises:
            InputError: a step that comes before those to run has not been run with the same settings.
        """
        plan = plan_steps(self.steps, self.config.skip_steps, weight_key)
        check_earlier_steps(plan, self.numbers, self.root)
        return plan


def check(options: argparse.Namespace) -> CheckedRun:
    """Checks everything that can be checked without writing; a run and a dry run begin with it.

    Raises:
        LatentSyncError: an option, a setting, the input, weights or the output folder cannot be used.
    """
    config = load_config(options.config, PreprocessConfig, [*_shortcuts(options), *options.overrides])
    numbers = parse_numbers(options.steps, NUM_STEPS)
    steps = build_steps(config)[: max(numbers)]
    root = options.output_dir.absolute()
    raw_files, num_raw_files = _raw_files(options, numbers)
    for step in steps:
        if step.number not in config.skip_steps:
            find_weights(step)
    executor = _build_executor(options, root / LOG_FOLDER)
    check_output(root)
    return CheckedRun(config, numbers, steps, raw_files, num_raw_files, root, executor)


def run(options: argparse.Namespace) -> int:
    """Runs the steps, or says what would be run; gives 0."""
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
        return read_list(options.input_list, options.output_dir)
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
    from preprocess.ray_cluster import import_ray  # Ray is an optional extra
    from preprocess.ray_executor import RayExecutor

    import_ray()
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
