"""Compare the tiny VAE with the full one: quality on held-out synthetic clips, and CPU time of 16 crops.

    python -m benchmarks.tiny_vae --data data/val [--full FOLDER] [--tiny FOLDER]

Rows combine the encoder of one with the decoder of the other. Quality is measured in float32 as in `eval.demo_weights`,
time in the default format of the device, in turns, so that other work on the machine affects all alike.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from benchmarks.measurement import markdown_table
from demo.synthetic.clip_metrics import reconstruct, reconstruction_metrics, sample_frames
from demo.synthetic.clip_set import find_clips
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_dtype
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.weights import CHECKPOINTS

_NUM_CROPS = 16
_NUM_ROUNDS = 7
QUALITY = ("psnr_db", "mouth_psnr_db", "chroma_error")


class MixedCodec:
    """The encoder of one VAE and the decoder of another."""

    def __init__(self, encoder: LatentCodec, decoder: LatentCodec) -> None:
        self.encode, self.decode = encoder.encode, decoder.decode


def compare(codecs: dict[str, LatentCodec], data: Path, num_clips: int) -> list[dict[str, float | str]]:
    """Return the quality of all combinations on three frames of each clip."""
    originals = sample_frames(find_clips(data)[:num_clips])
    rows: list[dict[str, float | str]] = []
    for first, encoder in codecs.items():
        for second, decoder in codecs.items():
            decoded = reconstruct(cast(LatentCodec, MixedCodec(encoder, decoder)), originals)
            values = reconstruction_metrics(originals, decoded)
            rows.append({"encoder": first, "decoder": second, **{k: f"{values[k]:.2f}" for k in QUALITY}})
    return rows


@torch.inference_mode()
def times(codecs: dict[str, LatentCodec], resolution: int) -> list[dict[str, float | str]]:
    """Return the median CPU milliseconds of encoding and decoding 16 crops."""
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for name, codec in codecs.items():
        side = resolution // codec.factor
        images = torch.rand(_NUM_CROPS, 3, resolution, resolution) * 2 - 1
        latents = torch.randn(_NUM_CROPS, codec.latent_channels, side, side)
        calls[name, "encode"] = lambda codec=codec, images=images: codec.encode(images)
        calls[name, "decode"] = lambda codec=codec, latents=latents: codec.decode(latents)
    measured: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for number in range(_NUM_ROUNDS + 1):
        for key, call in calls.items():
            start = time.process_time()
            call()
            if number:  # the first round warms up
                measured[key].append(time.process_time() - start)
    milliseconds = {key: statistics.median(values) * 1e3 for key, values in measured.items()}
    return [
        {"VAE": name} | {f"{part}, ms": milliseconds[name, part] for part in ("encode", "decode")} for name in codecs
    ]


def main() -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.tiny_vae", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out clips")
    parser.add_argument("--full", type=Path, default=CHECKPOINTS / "demo" / "vae")
    parser.add_argument("--tiny", type=Path, default=CHECKPOINTS / "demo" / "vae_tiny")
    parser.add_argument("--clips", type=int, default=40, help="number of clips")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    return run_command(lambda: print_tables(options))


def print_tables(options: argparse.Namespace) -> int:
    """Measure and print both tables."""
    torch.set_num_threads(options.threads)
    folders = {"full": options.full, "tiny": options.tiny}
    codecs = {name: load_vae(folder) for name, folder in folders.items()}
    rows = compare(codecs, options.data, options.clips)
    sys.stdout.write(markdown_table(("encoder", "decoder", *QUALITY), rows) + "\n")
    dtype = resolve_dtype("auto", torch.device("cpu"))
    resolution = find_clips(options.data)[0].crops.shape[1]
    rows = times({name: load_vae(folder, dtype=dtype) for name, folder in folders.items()}, resolution)
    sys.stdout.write(f"\n{_NUM_CROPS} crops of {resolution} px, {dtype}\n\n")
    sys.stdout.write(markdown_table(("VAE", "encode, ms", "decode, ms"), rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
