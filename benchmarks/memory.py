"""Measure the peak memory of the commands.

    python -m benchmarks.memory length --seconds 20 200
    python -m benchmarks.memory task --clips data/train --held_out data/val
    python -m benchmarks.memory published --resolution 256 512 --dtype float32

`length` runs ./inference.sh with the weights and the face detector that it finds on a looped 1080x1920 clip of several
lengths, and prints the peak resident memory of its process, over the whole run and over each eighth of its time. It
must not grow with the length. ffmpeg's processes are not included, because they hold only a few frames. One denoising
step keeps 200 s affordable; the number of steps does not change the memory.

`task` runs each command with the demo weights in a temporary folder and samples its process tree five times per second;
pages shared between processes count in each.

`published` runs ./inference.sh with random weights of the published sizes (6 GB in a temporary folder), one window of
the demo video and one denoising step: memory depends neither on the weights' values nor on the numbers of steps and
windows. On a GPU it also prints the memory that PyTorch allocated there.

All of them print a Markdown table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from benchmarks.measurement import resident_bytes
from benchmarks.random_weights import write_config, write_weights
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import ToolError
from latentsync.media.ffmpeg_tools import media_input
from latentsync.media.transcode import write_media
from latentsync.weights import REPOSITORY_ROOT, UNET
from scripts.inference import DEMO_AUDIO, DEMO_VIDEO

WIDTH, HEIGHT = 1080, 1920
WINDOW_S = 16 / 25
_SAMPLING_INTERVAL_S = 0.2
_MIB = 1024**2
_NUM_PARTS = 8


def make_inputs(folder: Path, seconds: int, video: Path, speech: Path) -> tuple[Path, Path]:
    """Loop a video, scaled to 1080x1920, and a 16-bit speech file to a length; return both files."""
    looped_video, looped_speech = folder / "video.mp4", folder / "speech.wav"
    fitted = media_input(video, stream_loop=-1, t=seconds)["V:0"].filter("fps", 25)
    fitted = fitted.filter("scale", WIDTH, HEIGHT, force_original_aspect_ratio="decrease")
    write_media([fitted.filter("pad", WIDTH, HEIGHT, "(ow-iw)/2", "(oh-ih)/2")], looped_video, preset="ultrafast")
    with wave.open(str(speech)) as source, wave.open(str(looped_speech), "wb") as file:
        file.setparams(source.getparams())
        samples, num_bytes = source.readframes(source.getnframes()), source.getsampwidth() * source.getnchannels()
        wanted = seconds * source.getframerate() * num_bytes
        file.writeframes((samples * (wanted // len(samples) + 1))[:wanted])
    return looped_video, looped_speech


def memory_curve(command: Sequence[str]) -> list[int]:
    """Run a command and return the resident memory of its own process over time, in bytes.

    Raises:
        ToolError: the command fails.
    """
    curve = []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        root = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):
                curve.append(root.memory_info().rss)
            time.sleep(_SAMPLING_INTERVAL_S)
        if process.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            raise ToolError(f"{' '.join(command)} ended with status {process.returncode}: {said}")
    return curve


def lengths(arguments: argparse.Namespace) -> int:
    """Measure each length in its own process and print a table."""
    parts = range(1, _NUM_PARTS + 1)
    print("| video, s | peak, MiB | " + " | ".join(f"{part}/{_NUM_PARTS} of the time" for part in parts) + " |")
    print("|---|---|" + "---|" * _NUM_PARTS)
    for seconds in arguments.seconds:
        with tempfile.TemporaryDirectory() as name:
            video, speech = make_inputs(Path(name), seconds, arguments.video, arguments.audio)
            command = [
                *(sys.executable, "-m", "scripts.inference", "--video_path", str(video), "--audio_path", str(speech)),
                *("--video_out_path", str(Path(name) / "out.mp4"), *arguments.options),
            ]
            curve = memory_curve(command)
        peaks = [max(curve[len(curve) * (part - 1) // _NUM_PARTS : len(curve) * part // _NUM_PARTS]) for part in parts]
        print(f"| {seconds} | " + " | ".join(f"{peak / _MIB:.0f}" for peak in (max(curve), *peaks)) + " |", flush=True)
    return 0


def task_commands(clips: Path, held_out: Path) -> Mapping[str, Sequence[str]]:
    """Return commands by description; they write into the current folder."""
    data = [f"data.train_clips={clips.resolve()}", f"data.validation_clips={held_out.resolve()}"]
    short = ["training.max_steps=3", "training.validate_every=1000", "training.num_workers=1"]
    configs, assets = REPOSITORY_ROOT / "configs", REPOSITORY_ROOT / "assets"
    raw = Path("raw")
    raw.mkdir()
    (raw / "person.mp4").symlink_to(assets / "demo1_video.mp4")
    return {
        "lip-sync the demo video (138 frames, 512 px)": [str(REPOSITORY_ROOT / "inference.sh")],
        "train the demo SyncNet (batch 8)": [
            str(REPOSITORY_ROOT / "train_syncnet.sh"), "--config", str(configs / "demo/syncnet.yaml"), *data, *short,
        ],
        "train the demo U-Net, stage 1 (batch 12 x 8 frames)": [
            str(REPOSITORY_ROOT / "train_unet.sh"), "--config", str(configs / "demo/unet_stage1.yaml"), *data, *short,
        ],
        "training clips of the demo video (one worker)": [
            str(REPOSITORY_ROOT / "data_processing_pipeline.sh"), "--config", str(configs / "preprocess/demo.yaml"),
            "--input_dir", str(raw), "--output_dir", "out", "--num_workers", "1",
        ],
    }  # fmt: skip


def peak_memory_mib(command: Sequence[str]) -> float:
    """Return the peak resident memory of a command and its descendants in MiB.

    Raises:
        ToolError: the command fails.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, resident_bytes(root))
        time.sleep(_SAMPLING_INTERVAL_S)
    if process.returncode != 0:
        raise ToolError(f"{' '.join(command)} ended with status {process.returncode}: run it to see why")
    return peak / _MIB


def tasks(arguments: argparse.Namespace) -> int:
    """Measure every command of `task_commands` and print the table."""
    clips, held_out = arguments.clips.resolve(), arguments.held_out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print("| task | peak memory, MiB |\n|---|---|")
        for name, command in task_commands(clips, held_out).items():
            print(f"| {name} | {peak_memory_mib(command):.0f} |", flush=True)
        os.chdir(REPOSITORY_ROOT)
    return 0


def write_job(folder: Path) -> None:
    """Write a list with one job: the demo video, and its speech cut to the length of one window."""
    with wave.open(str(DEMO_AUDIO)) as speech, wave.open(str(folder / "window.wav"), "wb") as window:
        window.setparams(speech.getparams())
        window.writeframes(speech.readframes(round(WINDOW_S * speech.getframerate())))
    job = f"video_path,audio_path,video_out_path\n{DEMO_VIDEO},window.wav,out.mp4\n"
    (folder / "jobs.csv").write_text(job, encoding="utf-8")


def inference_command(folder: Path, resolution: int, dtype: str, guidance: float) -> Sequence[str]:
    """Return the command line of ./inference.sh with the random weights of a folder."""
    return [
        str(REPOSITORY_ROOT / "inference.sh"),
        "--unet_config_path", str(write_config(folder, resolution)),
        "--inference_ckpt_path", str(folder / UNET),
        "--list", str(folder / "jobs.csv"),
        "--inference_steps", "1", "--guidance_scale", str(guidance), "--dtype", dtype, "--detector", "mtcnn",
    ]  # fmt: skip


def published(arguments: argparse.Namespace) -> int:
    """Measure inference with random weights of the published sizes and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder)
        write_job(folder)
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
        print("| resolution | dtype | guidance | all processes, GiB | GPU, GiB |\n|---|---|---|---|---|")
        for resolution in arguments.resolution:
            for dtype in arguments.dtype:
                for guidance in arguments.guidance_scale:
                    peak = peak_memory_mib(inference_command(folder, resolution, dtype, guidance)) / 1024
                    record = json.loads((folder / "out.mp4.lipsync.json").read_text(encoding="utf-8"))
                    device_mb = record["peak_device_memory_mb"]
                    shown = "no GPU" if device_mb is None else f"{device_mb / 1024:.1f}"
                    print(f"| {resolution} px | {dtype} | {guidance:g} | {peak:.1f} | {shown} |", flush=True)
    return 0


def main() -> int:
    """Run one of the subcommands and return its exit code."""
    parser = OneLineParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="{length,task,published}")
    length = commands.add_parser("length", help="the pipeline at several lengths of video")
    length.add_argument("--seconds", type=int, nargs="+", default=[20, 200])
    length.add_argument("--video", type=Path, default=DEMO_VIDEO, help="clip to loop (default: that of the demo)")
    length.add_argument("--audio", type=Path, default=DEMO_AUDIO, help="WAV file to loop (default: that of the demo)")
    length.add_argument(
        "--options",
        nargs=argparse.REMAINDER,
        default=["--inference_steps", "1", "--guidance_scale", "1"],
        help="last: options of ./inference.sh (default: --inference_steps 1 --guidance_scale 1)",
    )
    length.set_defaults(run=lengths)
    task = commands.add_parser("task", help="each command with the demo weights")
    task.add_argument("--clips", type=Path, required=True, help="folder of a few training clips")
    task.add_argument("--held_out", type=Path, required=True, help="folder of a few held-out clips")
    task.set_defaults(run=tasks)
    sizes = commands.add_parser("published", help="inference with random weights of the published sizes")
    sizes.add_argument("--resolution", type=int, nargs="+", default=[256, 512], choices=[256, 512])
    sizes.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16", "float16"])
    sizes.add_argument("--guidance_scale", type=float, nargs="+", default=[1.5], help="1 halves the U-Net's batch")
    sizes.set_defaults(run=published)
    arguments = parser.parse_args()
    return run_command(lambda: arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
