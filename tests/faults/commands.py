"""The commands whose writes fail, with small networks in place of large ones where they have any."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from latentsync.adaptation.audio_choice import LipAgreement
from latentsync.adaptation.report import AdaptationReport, TrainedPart
from latentsync.adaptation.result import write_result
from latentsync.adaptation.settings import REMEDY, AdaptationSettings
from latentsync.app.app_folders import AppFolders
from latentsync.app.lipsync_service import LipsyncService, Sessions
from latentsync.app.speech_uploads import SpeechUploads
from latentsync.cli import run_command
from latentsync.config import load_config
from latentsync.errors import LatentSyncError
from latentsync.executors import local
from latentsync.jobs.job import JobState
from latentsync.jobs.limits import Limits
from latentsync.jobs.queue import JobQueue
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes import lipsync
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.adapted_weights import PROGRAM, read_adapted
from latentsync.storage.owned_folder import claim_folder
from preprocess import pipeline as data_pipeline
from scripts import adapt, inference
from tests.integration.tiny_training import TinyStep, fit, mean_output
from tests.tiny_pipeline import tiny_pipeline


def run_inference(arguments: Sequence[str]) -> int:
    """``./inference.sh`` with tiny networks."""
    with patch.object(lipsync, "build_pipeline", lambda build: tiny_pipeline()):
        return inference.main(list(arguments))


def run_data_pipeline(arguments: Sequence[str]) -> int:
    """``./data_processing_pipeline.sh``; workers are forked from it, which is quicker."""
    executor = partial(local.LocalExecutor, start_method="fork")
    with patch.object(local, "LocalExecutor", executor):
        return data_pipeline.main(arguments)


def run_app_job(arguments: Sequence[str]) -> int:
    """One job of the app, from uploads to results, with tiny networks; its error is the line that the page shows."""
    work_dir, *files = map(Path, arguments)

    def work() -> int:
        options = LipsyncOptions(num_inference_steps=1, compare=True)
        service = LipsyncService(tiny_pipeline(), None, options, "tiny", Limits())
        with AppFolders(work_dir) as folders, JobQueue(folders) as queue:
            video, speech = (_uploaded(path, folders.uploads) for path in files)
            job = Sessions(service, queue, folders).start_lipsync(video, SpeechUploads(speech), options)
            while not (view := queue.view(job)).state.is_over:
                time.sleep(0.01)
        if view.state is not JobState.DONE:
            raise LatentSyncError(view.error)
        return 0

    return run_command(work)


def _uploaded(path: Path, uploads: Path) -> Path:
    """As gradio does it."""
    folder = uploads / hashlib.sha256(path.read_bytes()).hexdigest()
    folder.mkdir(exist_ok=True)
    return Path(shutil.copyfile(path, folder / path.name))


def run_training(arguments: Sequence[str]) -> int:
    """A training of four steps with a tiny model, as the commands of trainings run it."""
    settings = {"ema_decay": 0.9, "validate_every": 2, "keep_last": 2}
    step = TinyStep(dropout=0.3)
    return run_command(lambda: fit(arguments[0], step, mean_output, **settings).exit_code)


def run_adaptation(arguments: Sequence[str]) -> int:
    """The end of an adaptation: its result is written into the folder; the training is a scenario of its own."""
    out, video, weights = map(Path, arguments)
    run = load_config(adapt.DEFAULT_CONFIG, AdaptationRun)
    settings = AdaptationSettings(run, (video,), out, torch.device("cpu"))
    metrics: dict[str, float] = dict.fromkeys(
        ("psnr_db", "ssim", "opening", "width", "leak", "sharpness", "flicker", "edge"), 1.0
    )
    trained = TrainedPart(3, 0.1, None, 10)
    report = AdaptationReport(metrics, metrics, 1.5, 1.5, "own", LipAgreement(0.9, 0), 0.04, trained, 3.0)

    def finish() -> int:
        claim_folder(out, PROGRAM, REMEDY)
        write_result(settings, report, [weights], [np.zeros((2, 8, 8, 3), np.uint8)] * 3)
        read_adapted(out)
        return 0

    return run_command(finish)


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
    "app": run_app_job,
    "training": run_training,
    "adaptation": run_adaptation,
    "write": write,
    "encode": encode,
}
