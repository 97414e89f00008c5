"""Measure weights on videos of real people, for which there is no ground truth: mouths, colours and sharpness.

    python -m benchmarks.real_faces VIDEO... --out runs/real [--unet FILE] [--vae FOLDER] [--mouth_reader FILE]

The first frames of every video are generated with foreign speech. The metrics are those of the checks of `adapt.sh`
(docs/adapt.md), and the PSNR and sharpness of the images that the VAE alone reconstructs. The sheets have the footage
and below it the generated crops; they show real faces and belong to nobody's repository.
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import markdown_table
from demo.synthetic.clip_metrics import reconstruct
from latentsync.adaptation.check_videos import CheckVideo
from latentsync.adaptation.mouth_check import MouthCheck, sampling_options
from latentsync.adaptation.mouth_readers import build_mouth_reader
from latentsync.adaptation.speech_bank import read_speech
from latentsync.cli import OneLineParser, run_command
from latentsync.config import load_config
from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detector import build_detector
from latentsync.face.face_plan import plan_face
from latentsync.judges.crop_measures import psnr_db, sharpness, to_crops
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.models.vae import load_vae
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.storage.owned_folder import claim_folder
from latentsync.weights import CHECKPOINTS, DEMO_UNET, REPOSITORY_ROOT, find_vae

CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml"
SPEECH = REPOSITORY_ROOT / "assets" / "speech" / "voice_7.ogg"
FPS = 25
_EVERY = 8
"""The VAE is measured on every eighth frame."""


def crops_of(video: Path, num_frames: int, resolution: int) -> NDArray[np.uint8]:
    """Return the aligned crops (f, R, R, 3) of the first frames; raises InputError if one shows no face."""
    with VideoReader(video, Fraction(FPS), num_frames, info=probe_video(video)) as reader:
        frames = list(reader)
    plan = plan_face(frames, build_detector("mtcnn"))
    if (plan.segment < 0).any():
        raise InputError(f"{video} does not show a face in each of its first {len(frames)} frames: use another")
    return to_crops(crop_faces(frames, alignment_matrices(plan.anchors, resolution), resolution))


def measure(options: argparse.Namespace) -> int:
    """Measure all videos together, print one row for each, and write the sheets."""
    claim_folder(options.out, "real faces", "name another --out")
    run = load_config(CONFIG, AdaptationRun, [f"vae={options.vae}"] if options.vae else [])
    device = resolve_device(options.device)
    speech = read_speech(SPEECH, options.frames / FPS)
    videos = [
        CheckVideo(path.name, crops_of(path, options.frames, run.data.resolution), speech, is_own=False)
        for path in options.videos
    ]
    reader = build_mouth_reader(str(options.mouth_reader), device)
    check = MouthCheck(run, sampling_options(run), videos, reader, device, resolve_dtype("auto", device))
    results = check.generate(options.unet, run.run.guidance_scale)
    metrics = check.measure(results, run.run.guidance_scale).videos
    codec, rows = load_vae(find_vae(run.vae), device), []
    for video in videos:
        sample, generated = video.crops[::_EVERY], results[video.name]
        decoded = reconstruct(codec, sample)
        own = {"VAE PSNR, dB": psnr_db(sample, decoded), "VAE sharpness": sharpness(decoded) / sharpness(sample)}
        rows.append({"video": video.name, **metrics[video.name].values(), **own})
        columns = np.linspace(0, len(generated) - 1, 11).astype(int)[1:-1]
        sheet = options.out / f"{Path(video.name).stem}.png"
        write_crop_sheet([video.crops[columns], generated[columns]], sheet)
    print(markdown_table(list(rows[0]), rows))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.real_faces", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--frames", type=int, default=100, help="frames of every video")
    parser.add_argument("--unet", type=Path, default=CHECKPOINTS / DEMO_UNET)
    parser.add_argument("--vae", help="folder of another VAE")
    parser.add_argument("--mouth_reader", type=Path, default=CHECKPOINTS / "demo" / "mouth_reader.pt")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return run_command(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
