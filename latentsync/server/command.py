"""Serve an HTTP API for lip-sync jobs: ``python -m latentsync.server --help``."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import NoReturn

from latentsync.cli import OneLineParser, Stopped, run_command
from latentsync.jobs.limits import Limits
from latentsync.recipes.lipsync_arguments import add_device_arguments, add_weight_arguments, chosen_build
from latentsync.server.settings import PROGRAM, ServiceSettings

_AWAKE_EVERY_S = 0.5
"""Python runs signal handlers in the main thread only, which a long sleep would block."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    defaults, limits = ServiceSettings(Path()), Limits()
    parser = OneLineParser(prog="python -m latentsync.server", description=__doc__, allow_abbrev=False)
    add = parser.add_argument_group("jobs").add_argument
    add(
        "--work_dir",
        type=Path,
        required=True,
        help=f"jobs are stored in its subfolder latentsync-{PROGRAM}; nothing else is changed",
    )
    add(
        "--keep_hours",
        type=float,
        default=defaults.keep_hours,
        help="age at which results are removed (default: %(default)s)",
    )
    add(
        "--keep_gb",
        type=float,
        default=defaults.keep_gb,
        help="size above which the oldest results are removed (default: %(default)s)",
    )
    add("--max_queued", type=int, default=defaults.max_queued, help="waiting jobs (default: %(default)s)")
    for name, text in {
        "max_seconds": "length of the audio",
        "max_megabytes": "size of a file",
        "max_side": "longer side of a video in pixels",
        "max_steps": "number of denoising steps",
    }.items():
        default = getattr(limits, name)
        add(f"--{name}", type=type(default), default=default, help=f"maximum {text} (default: %(default)s)")
    add = parser.add_argument_group("access").add_argument
    add("--host", default=defaults.host, help="address to listen on; others require --keys (default: %(default)s)")
    add("--port", type=int, default=defaults.port, help="0 selects a free port (default: %(default)s)")
    add("--keys", type=Path, metavar="FILE", help="API keys: a line NAME KEY for each client")
    add("--allow_hosts", default="", metavar="A,B", help="hosts to fetch inputs from and send webhooks to")
    add("--input_root", type=Path, nargs="+", default=[], metavar="DIR", help="folders whose files requests can name")
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
        print("stopped; waiting jobs run after the next start", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> NoReturn:
    settings = ServiceSettings(
        work_dir=arguments.work_dir,
        host=arguments.host,
        port=arguments.port,
        keys=arguments.keys,
        allow_hosts=tuple(name.strip() for name in arguments.allow_hosts.split(",") if name.strip()),
        input_roots=tuple(arguments.input_root),
        keep_hours=arguments.keep_hours,
        keep_gb=arguments.keep_gb,
        max_queued=arguments.max_queued,
    )
    names = ("max_seconds", "max_megabytes", "max_side", "max_steps")
    limits = Limits(**{name: getattr(arguments, name) for name in names})
    settings.check()
    with settings.bind() as bound:  # before the networks are loaded, which takes long
        from latentsync.server.lipsync_work import LipsyncWork  # imports torch, which --help does without
        from latentsync.server.serving import serving

        weights, build = chosen_build(arguments)
        build = build if arguments.vae else build.with_networks_of(build.default_preset)
        work = LipsyncWork.load(build, limits, arguments.vae_batch_size, arguments.concurrent_stages)
        dtype = str(build.dtype).removeprefix("torch.")
        print(f"weights: {weights.describe()}; device: {build.device}, {dtype}", flush=True)
        with serving(work, settings, bound) as url:
            print(f"listening on {url}", flush=True)
            while True:
                time.sleep(_AWAKE_EVERY_S)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: run(arguments), arguments.debug)
