"""Trains one of the small demo networks on synthetic talking heads.

The lip-sync U-Net and the SyncNet of the demo come out of train_unet.sh and train_syncnet.sh.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from demo.training.audio_encoder_run import (
    AudioEncoderRun,
    build_audio_encoder_trainer,
    empty_audio_encoder,
)
from demo.training.demo_data_config import clip_checks
from demo.training.mouth_reader_run import MouthReaderRun, build_mouth_reader_trainer, empty_mouth_reader
from demo.training.vae_run import VaeRun, build_vae_trainer, empty_vae
from demo.training.videomae_run import VideoMaeRun, build_videomae_trainer, empty_videomae
from latentsync.cli import OneLineParser
from latentsync.training.train_command import Check, run_training
from latentsync.training.trainer import Trainer
from latentsync.weights import REPOSITORY_ROOT, find_initial_vae, locate_initial

_PROGRAM = "python -m demo.training"


@dataclass(frozen=True)
class DemoNetwork:
    """One of the networks.

    Attributes:
        description: one line for the help.
        schema: dataclass of its root configuration.
        build_trainer: configuration and its plain copy to the trainer.
        build_meta_model: builds the network on the meta device.
        find_initial: finds the weights that it starts from, where its configuration may name some.
    """

    description: str
    schema: type[Any]
    build_trainer: Callable[[Any, dict[str, Any]], Trainer]
    build_meta_model: Callable[[Any], nn.Module]
    find_initial: Callable[[str], Path] | None = None

    def file_checks(self, run: Any, model: nn.Module) -> list[Check]:
        """Return checks of the files that its training reads."""
        checks = clip_checks(run.data, run.training)
        if self.find_initial is not None and run.initial is not None:
            checks.append(partial(self.find_initial, run.initial))
        return checks


NETWORKS = {
    "audio_encoder": DemoNetwork(
        "Trains the audio encoder, in Whisper's format, to hear the mouth.",
        AudioEncoderRun,
        build_audio_encoder_trainer,
        empty_audio_encoder,
        locate_initial,
    ),
    "vae": DemoNetwork("Trains the VAE.", VaeRun, build_vae_trainer, empty_vae, find_initial_vae),
    "vae_decoder": DemoNetwork(
        "Trains the VAE's decoder alone: the latents stay as they are.",
        VaeRun,
        build_vae_trainer,
        empty_vae,
        find_initial_vae,
    ),
    "mouth_reader": DemoNetwork(
        "Trains the judge that reads opening and width of the mouth.",
        MouthReaderRun,
        build_mouth_reader_trainer,
        empty_mouth_reader,
    ),
    "videomae": DemoNetwork(
        "Trains the small VideoMAE that stands in for VideoMAE-v2.",
        VideoMaeRun,
        build_videomae_trainer,
        empty_videomae,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains as the command line says: the network's name, then what every training takes."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = OneLineParser(_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS, help="then --config FILE, key=value ..., --dry_run or --help")
    name = parser.parse_args(arguments[:1]).network
    network = NETWORKS[name]
    return run_training(
        name=f"{_PROGRAM} {name}",
        description=f"{network.description} The same command resumes a stopped training.",
        schema=network.schema,
        build_trainer=network.build_trainer,
        build_meta_model=network.build_meta_model,
        file_checks=network.file_checks,
        arguments=arguments[1:],
        default_config=REPOSITORY_ROOT / "configs" / "demo" / f"{name}.yaml",
    )


if __name__ == "__main__":
    sys.exit(main())
