"""Generate the videos of a list, and write the list for `eval.run`.

    python -m eval.inference_videos --list list.csv --out DIR
    python -m eval.inference_videos --videos FOLDER --protocol cross_audio --out DIR

`list.csv` has the columns name,video and optionally audio,reference,protocol (`eval.jobs`); lines without audio are
assigned one by --protocol. `DIR/pairs.csv` lists the results and the control rows. Repeat the command to resume.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from eval.jobs import Job, jobs_of_videos, read_jobs
from eval.pairs import MODEL, PROTOCOLS, RECONSTRUCTION, is_pair_list, write_pairs
from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, run_command
from latentsync.data.clip_list import list_clips
from latentsync.errors import InputError
from latentsync.executors.arguments import ExecutorArguments
from latentsync.pipelines.video_maker import Outcome, VideoJob
from latentsync.recipes.lipsync_arguments import (
    add_device_arguments,
    add_sampling_arguments,
    add_weight_arguments,
)
from latentsync.storage.output_file import check_no_inputs
from latentsync.storage.owned_folder import claim_folder, locked

PROGRAM = "evaluation videos"
WHEN_STOPPED = "repeat the command to resume"
WORKERS = ExecutorArguments("job")
PAIRS, FOLDERS = "pairs.csv", ("videos", "records")
_REMEDY = "name another --out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if every video exists, 1 if some failed, 2 after invalid input."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped=WHEN_STOPPED)


def _main(options: argparse.Namespace) -> int:
    outcomes = make_all(options)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    num_there = sum(outcome.was_there for outcome in outcomes)
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} videos are there ({num_there} from before)")
    for outcome in failed:
        print(f"failed: {outcome.job.result.stem}: {outcome.error}")
    print(f"wrote {options.out / PAIRS}: python -m eval.run --pairs {options.out / PAIRS} --out REPORT")
    return EXIT_SOME_FAILED if failed else 0


def make_all(options: argparse.Namespace) -> list[Outcome]:
    """Generate the missing videos and write `pairs.csv`; failures are reported in the outcomes.

    Raises:
        LatentSyncError: list, weights, options or the output folder are invalid, or an output is also an input.
    """
    from latentsync.recipes import list_run  # imports torch, which --help does without
    from latentsync.recipes.list_maker import ListMaker

    jobs = chosen_jobs(options)
    tasks = [job.task(options.out) for job in jobs]
    check_no_inputs(_outputs(tasks, options), _inputs(jobs, options))
    executor, maker = WORKERS.build(options), ListMaker(options, use_default_preset=False)
    claim_folder(options.out, PROGRAM, _REMEDY, _is_of_older_version)
    with locked(options.out, f"wait for it, or {_REMEDY}"):
        for folder in FOLDERS:
            (options.out / folder).mkdir(exist_ok=True)
        results = [job.pair(options.out, options.row) for job in jobs]
        controls = [pair for job in jobs for pair in job.controls()]
        write_pairs(options.out / PAIRS, [*results, *controls])
        with closing(list_run.make_all(dict(enumerate(tasks)), maker, executor)) as ended:
            outcomes = dict(tqdm(ended, total=len(tasks), disable=None, unit="video"))
    return [outcomes[index] for index in range(len(tasks))]


def _outputs(tasks: Sequence[VideoJob], options: argparse.Namespace) -> list[Path]:
    return [options.out / PAIRS, *(path for task in tasks for path in (task.result, task.record))]


def _inputs(jobs: Sequence[Job], options: argparse.Namespace) -> list[Path]:
    named = [options.list, options.videos, options.unet_config_path, options.inference_ckpt_path]
    named += [path for job in jobs for path in (job.video, job.audio, job.reference)]
    return [path for path in named if path is not None]


def _is_of_older_version(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in FOLDERS) and is_pair_list(folder / PAIRS)


def chosen_jobs(options: argparse.Namespace) -> list[Job]:
    """Return the jobs of --list, or of --videos and --protocol."""
    if (options.list is None) == (options.videos is None):
        raise InputError("give either --list or --videos")
    if options.list is not None:
        jobs = read_jobs(options.list, options.protocol, options.swap_seed)
    else:
        jobs = jobs_of_videos(list_clips(options.videos), options.protocol, options.swap_seed)
    return jobs[: options.limit or None]


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m eval.inference_videos",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--list", type=Path, help="CSV with the columns name,video and optionally audio,reference,protocol")
    add("--videos", type=Path, help="instead of --list: a folder of videos, or a text file with one path per line")
    add("--out", type=Path, required=True, help="folder for videos/, records/ and pairs.csv")
    add("--protocol", choices=PROTOCOLS, default=RECONSTRUCTION, help="for videos without an audio column")
    add("--swap_seed", type=int, default=0, help="seed of the assignment of audio to videos (default: %(default)s)")
    add("--limit", type=int, default=0, help="only the first N videos (0: all)")
    add("--row", default=MODEL, help="name of the model in the report (default: %(default)s)")
    add_weight_arguments(parser)
    add_sampling_arguments(parser)
    add_device_arguments(parser)
    WORKERS.add_to(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
