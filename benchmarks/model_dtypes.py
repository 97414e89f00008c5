"""Measure the CPU time of a U-Net step and of a VAE round trip in float32 and bfloat16 at full size.

    python -m benchmarks.model_dtypes --threads 2 --frames 4

Weights are constant: the time does not depend on them. The last column is the speedup of bfloat16.
"""

import argparse
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from benchmarks.measurement import best_seconds
from benchmarks.random_weights import convert
from benchmarks.weight_sizes import SD_VAE
from latentsync.cli import OneLineParser
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec

M = TypeVar("M", bound=nn.Module)
DTYPES = (torch.float32, torch.bfloat16)


def full_size(build: Callable[[], M]) -> M:
    """Build a network whose weights are all equal, which is faster than random initialization."""
    with torch.device("meta"):
        model = build()
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(0.01)
    return model.eval()


@torch.no_grad()
def measure_unet(frames: int, resolution: int, repeats: int) -> list[float]:
    """Return the seconds of one stage-2 step on one window for each dtype."""
    size, seconds = resolution // 8, []
    unet = full_size(lambda: UNet3DConditionModel(use_motion_module=True))
    for dtype in DTYPES:
        convert(unet, dtype)
        sample = torch.randn(1, 13, frames, size, size).to(dtype)
        audio = unet.prepare_audio(torch.randn(1, frames, 50, 384).to(dtype))
        seconds.append(best_seconds(lambda sample=sample, audio=audio: unet(sample, 500, audio), repeats))
    return seconds


@torch.no_grad()
def measure_vae(frames: int, resolution: int, repeats: int) -> list[float]:
    """Return the seconds of encoding and decoding images with a VAE of sd-vae-ft-mse's size for each dtype."""
    seconds = []
    vae = full_size(lambda: cast(AutoencoderKL, AutoencoderKL.from_config(SD_VAE)))
    for dtype in DTYPES:
        convert(vae, dtype)
        codec, images = LatentCodec(vae), torch.rand(frames, 3, resolution, resolution) * 2 - 1
        seconds.append(best_seconds(lambda codec=codec, images=images: codec.decode(codec.encode(images)), repeats))
    return seconds


def main() -> None:
    """Measure both networks and print a table."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--frames", type=int, default=4, help="frames of the U-Net's window and images of the VAE")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, measure in (("U-Net step", measure_unet), ("VAE round trip", measure_vae)):
        full, half = measure(options.frames, options.resolution, options.repeats)
        print(f"{name:20s} float32 {full:6.2f} s   bfloat16 {half:6.2f} s   {full / half:.2f} x", flush=True)


if __name__ == "__main__":
    main()
