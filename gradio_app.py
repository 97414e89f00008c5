"""Serve a web page and an API for the lip-sync pipeline: ``python gradio_app.py --help``."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import latentsync  # noqa: F401  (first: it makes torchvision importable beside a CPU-only torch)
from latentsync.app.app_folders import APP_FOLDER, default_work_dir
from latentsync.app.server import TWO_WAYS, VARIABLE, ServerSettings, check_server, credentials, serving
from latentsync.cli import OneLineParser, Stopped, run_command
from latentsync.jobs.limits import Limits
from latentsync.recipes.lipsync_arguments import add_device_arguments, add_weight_arguments, chosen_build
from latentsync.weights import REPOSITORY_ROOT

_AWAKE_EVERY_S = 0.5
"""Python runs signal handlers in the main thread only, which a long sleep would block."""


class _PasswordInSight(argparse.Action):
    """Reject `--auth user:password`, since any local user can read command lines in the process list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error(f"--auth was removed, because other users can read command lines: {TWO_WAYS}")


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    server, limits = ServerSettings(), Limits()
    parser = OneLineParser(prog="gradio_app.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument_group("access").add_argument
    add("--host", default=server.host, help="address to listen on; 0.0.0.0 for all interfaces (default: %(default)s)")
    add("--port", type=int, default=server.port, help="0 selects a free port (default: %(default)s)")
    add("--share", action="store_true", help="create a public address through gradio's servers")
    add("--auth_file", type=Path, metavar="FILE", help=f"require the user:password in this file (or in ${VARIABLE})")
    add("--auth", nargs="?", action=_PasswordInSight, help=argparse.SUPPRESS)
    add = parser.add_argument_group("limits").add_argument
    add(
        "--queue_size",
        type=int,
        default=server.max_waiting,
        help="maximum number of waiting jobs (default: %(default)s)",
    )
    add(
        "--max_seconds",
        type=float,
        default=limits.max_seconds,
        help="maximum length of the driving audio (default: %(default)s)",
    )
    add(
        "--max_megabytes",
        type=float,
        default=limits.max_megabytes,
        help="maximum size of a file (default: %(default)s)",
    )
    add(
        "--max_side",
        type=int,
        default=limits.max_side,
        help="maximum longer side of a video in pixels (default: %(default)s)",
    )
    add(
        "--max_steps",
        type=int,
        default=limits.max_steps,
        help="maximum number of denoising steps (default: %(default)s)",
    )
    add(
        "--max_minutes",
        type=float,
        default=limits.max_minutes,
        help="maximum training time of an adaptation (default: %(default)s)",
    )
    add = parser.add_argument_group("job files").add_argument
    add(
        "--work_dir",
        type=Path,
        default=default_work_dir(),
        help=f"job files are stored in its subfolder {APP_FOLDER}; nothing else is changed (default: %(default)s)",
    )
    add(
        "--keep_hours",
        type=float,
        default=server.keep_hours,
        help="age at which job files are removed (default: %(default)s)",
    )
    add(
        "--grace_seconds",
        type=float,
        default=server.grace_seconds,
        help="a job stops when its page was closed for this time (default: %(default)s)",
    )
    add = parser.add_argument_group("adaptation to a person").add_argument
    add(
        "--adapt_config",
        type=Path,
        default=REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml",
        help="configuration of adapt.sh (default: configs/demo/adapt.yaml)",
    )
    weights = parser.add_argument_group("weights and device (as in inference.sh)")
    add_weight_arguments(weights)
    add_device_arguments(weights)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Load the pipeline once and serve until stopped; return the exit code, 0 after a signal."""
    try:
        _serve(arguments)
    except Stopped:
        print("stopped", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> NoReturn:
    from latentsync.app.adapt_service import AdaptService  # imports torch, which --help does without
    from latentsync.app.lipsync_service import LipsyncService

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
    names = ("max_seconds", "max_megabytes", "max_side", "max_steps", "max_minutes")
    limits = Limits(**{name: getattr(arguments, name) for name in names})
    check_server(settings)
    weights, build = chosen_build(arguments)
    build = build if arguments.vae else build.with_networks_of(build.default_preset)
    name = "demo, which know synthetic people only" if weights.is_demo else weights.name  # visitors see no paths
    adapter = AdaptService.load(build.device, arguments.detector, limits, arguments.adapt_config)
    service = LipsyncService.load(build, name, limits, arguments.vae_batch_size, arguments.concurrent_stages)
    dtype = str(build.dtype).removeprefix("torch.")
    print(f"weights: {weights.describe()}; device: {build.device}, {dtype}", flush=True)
    with serving(service, settings, adapter) as served:
        print(f"open {served.url}", flush=True)
        if served.share_url:
            print(f"public address: {served.share_url}", flush=True)
        while True:
            time.sleep(_AWAKE_EVERY_S)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: run(arguments), arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
