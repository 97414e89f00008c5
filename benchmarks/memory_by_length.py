"""Measure the peak memory of the pipeline for two lengths of 1080p video, to show that it does not grow.

    python -m benchmarks.memory_by_length [--seconds 20 200]

Each length runs in a separate process. Tiny random networks replace the real ones, whose memory does not depend on the
length either, and a detector with a fixed result replaces MTCNN. Decoder, alignment, windows, pasting and encoder are
the real ones. The ffmpeg processes are not measured: they process one frame at a time.
"""

import json
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser

WIDTH, HEIGHT = 1920, 1080


def make_inputs(folder: Path, seconds: int) -> tuple[Path, Path]:
    """Write a 1080p test video, and noise as its speech, both of that length."""
    from latentsync.media.ffmpeg_tools import generated_input
    from latentsync.media.transcode import write_media

    video, speech = folder / "video.mp4", folder / "speech.wav"
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration={seconds}"
    write_media([generated_input(source)], video, preset="ultrafast")
    with wave.open(str(speech), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        generator = np.random.default_rng(0)
        for _ in range(seconds):
            file.writeframes((generator.standard_normal(16000) * 3000).astype("<i2").tobytes())
    return video, speech


def measure(seconds: int) -> dict[str, float]:
    """Run one length in this process."""
    from latentsync.pipelines.options import LipsyncOptions
    from tests.tiny_pipeline import tiny_pipeline

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video, speech = make_inputs(folder, seconds)
        options = LipsyncOptions(num_inference_steps=1, guidance_scale=1.0)
        report = tiny_pipeline()(video, speech, folder / "out.mp4", options)
    spent = report.detection_seconds + report.synthesis_seconds
    return {
        "video_seconds": seconds,
        "frames": report.num_frames,
        "peak_mib": round(report.peak_memory_mb),
        "run_seconds": round(spent, 1),
    }


def main() -> None:
    """Measure each length in a separate process and print one JSON line for each."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--here", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    for seconds in arguments.seconds:
        if arguments.here:
            print(json.dumps(measure(seconds)), flush=True)
        else:
            command = [sys.executable, "-m", "benchmarks.memory_by_length", "--here", "--seconds", str(seconds)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
