"""Train one of the small demo networks on synthetic talking heads.

The lip-sync U-Net and the SyncNet of the demo are trained by train_unet.sh and train_syncnet.sh.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from demo.training.audio_encoder import AUDIO_ENCODER
from demo.training.demo_network import DemoNetwork
from demo.training.mouth_reader import MOUTH_READER
from demo.training.vae import VAE
from demo.training.vae_tiny import VAE_TINY
from demo.training.videomae import VIDEOMAE
from latentsync.cli import OneLineParser
from latentsync.training.train_arguments import parse_training
from latentsync.training.train_command import run_training
from latentsync.weights import REPOSITORY_ROOT

_PROGRAM = "python -m demo.training"

NETWORKS: dict[str, DemoNetwork[Any, Any]] = {
    "audio_encoder": AUDIO_ENCODER,
    "vae": VAE,
    "vae_decoder": replace(VAE, description="Train only the VAE's decoder; the latents do not change."),
    "vae_tiny": VAE_TINY,
    "mouth_reader": MOUTH_READER,
    "videomae": VIDEOMAE,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the network that the first argument names; the other arguments are those of all trainings."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = OneLineParser(_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS, help="then --config FILE, key=value ..., --dry_run or --help")
    name = parser.parse_args(arguments[:1]).network
    network = NETWORKS[name]
    options = parse_training(
        f"{_PROGRAM} {name}",
        f"{network.description} The same command resumes a stopped training.",
        arguments[1:],
        REPOSITORY_ROOT / "configs" / "demo" / f"{name}.yaml",
    )
    return run_training(
        options,
        schema=network.schema,
        build_trainer=network.build_trainer,
        build_meta_model=network.build_meta_model,
        file_checks=network.file_checks,
    )


if __name__ == "__main__":
    sys.exit(main())
