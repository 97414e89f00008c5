"""Measure the memory of lip-sync with random weights of the published sizes.

    python -m benchmarks.memory_published --resolution 256 512 --dtype float32

Writes random weights of the published shapes to a temporary folder (6 GB), then runs ./inference.sh with them on one
window of the demo video with one denoising step. The memory does not depend on the values of the weights or on the
number of steps and windows. Prints a Markdown table with the resident memory of all processes together and, on a GPU,
the memory of PyTorch on the device.
"""

import argparse
import json
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.memory_by_task import peak_memory_mib
from benchmarks.published_weights import write_config, write_weights
from latentsync.cli import OneLineParser
from latentsync.weights import REPOSITORY_ROOT, UNET
from scripts.inference import DEMO_AUDIO, DEMO_VIDEO

WINDOW_S = 16 / 25


def write_job(folder: Path) -> None:
    """Write a list with one job: the demo video, and its speech cut to the length of one window."""
    with wave.open(str(DEMO_AUDIO)) as speech, wave.open(str(folder / "window.wav"), "wb") as window:
        window.setparams(speech.getparams())
        window.writeframes(speech.readframes(round(WINDOW_S * speech.getframerate())))
    job = f"video_path,audio_path,video_out_path\n{DEMO_VIDEO},window.wav,out.mp4\n"
    (folder / "jobs.csv").write_text(job, encoding="utf-8")


def command(folder: Path, resolution: int, dtype: str, guidance: float) -> Sequence[str]:
    """Run ./inference.sh once and measure its memory."""
    return [
        str(REPOSITORY_ROOT / "inference.sh"),
        "--unet_config_path", str(write_config(folder, resolution)),
        "--inference_ckpt_path", str(folder / UNET),
        "--list", str(folder / "jobs.csv"),
        "--inference_steps", "1", "--guidance_scale", str(guidance), "--dtype", dtype, "--detector", "mtcnn",
    ]  # fmt: skip


def main() -> int:
    """Measure each setting and print the table."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, nargs="+", default=[256, 512], choices=[256, 512])
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--guidance_scale", type=float, nargs="+", default=[1.5], help="1 halves the U-Net batch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder)
        write_job(folder)
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
        print("| resolution | dtype | guidance | all processes, GiB | GPU, GiB |\n|---|---|---|---|---|")
        for resolution in arguments.resolution:
            for dtype in arguments.dtype:
                for guidance in arguments.guidance_scale:
                    peak = peak_memory_mib(command(folder, resolution, dtype, guidance)) / 1024
                    record = json.loads((folder / "out.mp4.lipsync.json").read_text(encoding="utf-8"))
                    card = record["peak_device_memory_mb"]
                    shown = "no GPU" if card is None else f"{card / 1024:.1f}"
                    print(f"| {resolution} px | {dtype} | {guidance:g} | {peak:.1f} | {shown} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
