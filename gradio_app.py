"""Serves a page, and an API, over the lip-sync pipeline: ``python gradio_app.py --help``."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)
from latentsync.app.credentials import TWO_WAYS, VARIABLE, credentials
from latentsync.app.job_folders import APP_FOLDER, default_work_dir
from latentsync.app.limits import Limits
from latentsync.app.server import ServerSettings, check_server, serving
from latentsync.app.studio import Studio
from latentsync.cli import OneLineParser, Stopped, run_command
from latentsync.device import resolve_device, resolve_dtype
from latentsync.models.vae import BATCH_SIZE
from latentsync.recipes.lipsync import LipsyncBuild, choose_weights

_AWAKE_EVERY_S = 0.5
"""The system may give a signal to any thread; Python's handler runs in the main one, which a long sleep would keep."""


class _PasswordInSight(argparse.Action):
    """`--auth user:password`, which everybody on the machine could read in the list of processes."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error(f"--auth is no more, because others can read command lines: {TWO_WAYS}")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    server, limits = ServerSettings(), Limits()
    parser = OneLineParser(prog="gradio_app.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument_group("who may come").add_argument
    add("--host", default=server.host, help="address to listen at; 0.0.0.0 is everybody's (default: %(default)s)")
    add("--port", type=int, default=server.port, help="0 takes a free one (default: %(default)s)")
    add("--share", action="store_true", help="a public address through gradio's servers")
    add("--auth_file", type=Path, metavar="FILE", help=f"ask visitors for its user:password (or that of ${VARIABLE})")
    add("--auth", nargs="?", action=_PasswordInSight, help=argparse.SUPPRESS)
    add = parser.add_argument_group("what they may ask for").add_argument
    add("--queue_size", type=int, default=server.max_waiting, help="jobs that may wait (default: %(default)s)")
    add("--max_seconds", type=float, default=limits.max_seconds, help="of speech (default: %(default)s)")
    add("--max_megabytes", type=float, default=limits.max_megabytes, help="a file (default: %(default)s)")
    add("--max_side", type=int, default=limits.max_side, help="pixels of a video (default: %(default)s)")
    add("--max_steps", type=int, default=limits.max_steps, help="denoising steps (default: %(default)s)")
    add = parser.add_argument_group("files of jobs").add_argument
    add(
        "--work_dir",
        type=Path,
        default=default_work_dir(),
        help=f"they are in its subfolder {APP_FOLDER}, and nothing else is touched (default: %(default)s)",
    )
    add("--keep_hours", type=float, default=server.keep_hours, help="then they are removed (default: %(default)s)")
    add(
        "--grace_seconds",
        type=float,
        default=server.grace_seconds,
        help="a job outlives its page by (default: %(default)s)",
    )
    add = parser.add_argument_group("weights and device (as in inference.sh)").add_argument
    add("--unet_config_path", type=Path, help="e.g. configs/unet/stage2_512.yaml")
    add("--inference_ckpt_path", type=Path, help="e.g. checkpoints/latentsync_unet.pt")
    add("--detector", choices=("auto", "mtcnn", "face_alignment"), default="auto")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--vae_batch_size", type=int, default=BATCH_SIZE, help="VAE images at once (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Loads the pipeline once and serves until stopped, which is how a server ends; gives the exit code."""
    try:
        _serve(arguments)
    except Stopped:
        print("stopped", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> NoReturn:
    settings = ServerSettings(
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        auth=credentials(arguments.auth_file),
        max_waiting=arguments.queue_size,
        keep_hours=arguments.keep_hours,
        grace_seconds=arguments.grace_seconds,
        work_dir=arguments.work_dir,
    )
    limits = Limits(arguments.max_seconds, arguments.max_megabytes, arguments.max_side, arguments.max_steps)
    check_server(settings)
    config, unet, weights = choose_weights(arguments.unet_config_path, arguments.inference_ckpt_path)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(arguments.dtype, device)
    name = weights.partition(" (")[0] if arguments.unet_config_path is None else unet.name  # visitors see no paths
    if name == "demo":
        name = "demo, which know synthetic people only"
    build = LipsyncBuild(config, unet, device, dtype, arguments.detector)
    studio = Studio.load(build, name, limits, arguments.vae_batch_size)
    print(f"weights: {weights}; device: {device}, {str(dtype).removeprefix('torch.')}", flush=True)
    with serving(studio, settings) as served:
        print(f"open {served.url}", flush=True)
        if served.share_url:
            print(f"for everybody: {served.share_url}", flush=True)
        while True:
            time.sleep(_AWAKE_EVERY_S)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: run(arguments), arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
