"""`python -m latentsync.demo_training MODEL --data DIR --out DIR (--steps N | --minutes M)`: trains one demo model."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from latentsync.demo_training.audio_encoder import train_audio_encoder
from latentsync.demo_training.loop import TrainOptions
from latentsync.demo_training.mouth_reader import train_mouth_reader
from latentsync.demo_training.syncnet import train_syncnet
from latentsync.demo_training.unet import train_unet
from latentsync.demo_training.vae import train_vae, train_vae_decoder
from latentsync.device import resolve_device
from latentsync.errors import LatentSyncError

_TRAINERS: dict[str, Callable[[TrainOptions], None]] = {
    "audio_encoder": train_audio_encoder,
    "vae": train_vae,
    "vae_decoder": train_vae_decoder,
    "mouth_reader": train_mouth_reader,
    "unet": train_unet,
    "syncnet": train_syncnet,
}


def main() -> int:
    """Reads the command line and trains; 2 when an input cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m latentsync.demo_training", description=__doc__)
    parser.add_argument("model", choices=_TRAINERS)
    parser.add_argument("--data", type=Path, required=True, help="folder of synthetic clips")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and logs")
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--steps", type=int, help="number of optimizer steps (repeatable)")
    limit.add_argument("--minutes", type=float, help="wall-clock limit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    parser.add_argument("--initial", type=Path, default=None, help="weights of an earlier run to go on from")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        device = resolve_device(args.device)
        options = TrainOptions(args.data, args.out, args.minutes, args.steps, args.seed, device, args.initial)
        _TRAINERS[args.model](options)
    except LatentSyncError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
