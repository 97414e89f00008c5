"""The commands whose writes fail, with small networks in place of large ones where they have any."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

from preprocess import pipeline as data_pipeline
from preprocess.local_executor import LocalExecutor
from scripts import inference
from tests.tiny_pipeline import tiny_pipeline


def run_inference(arguments: Sequence[str]) -> int:
    """``./inference.sh`` with tiny networks."""
    with patch.object(inference, "build_pipeline", lambda build: tiny_pipeline()):
        return inference.main(list(arguments))


def run_data_pipeline(arguments: Sequence[str]) -> int:
    """``./data_processing_pipeline.sh``; workers are forked from it, which is quicker."""
    executor = partial(LocalExecutor, start_method="fork")
    with patch.object(data_pipeline, "LocalExecutor", executor):
        return data_pipeline.main(arguments)


def write(arguments: Sequence[str]) -> int:
    """One call of every kind, in a folder."""
    folder = Path(arguments[0])
    try:
        folder.mkdir()
        with (folder / "a").open("wb", buffering=0) as file:
            file.write(b"whole")
            os.fsync(file.fileno())
            os.pwrite(file.fileno(), b"W", 0)
            os.ftruncate(file.fileno(), 5)
        os.link(folder / "a", folder / "b")
        os.replace(folder / "b", folder / "c")
        shutil.copyfile(folder / "c", folder / "d")
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 1
    return 0 if (folder / "d").read_bytes() == b"Whole" else 3


def encode(arguments: Sequence[str]) -> int:
    """Writes a video with ffmpeg."""
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *arguments]
    return subprocess.run(command, check=False).returncode


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "inference": run_inference,
    "data pipeline": run_data_pipeline,
    "write": write,
    "encode": encode,
}
