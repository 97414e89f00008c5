"""Data sets of synthetic face clips with exact mouth tracks; resumable, one folder per clip.

A clip's folder holds clip.mp4 (the crops with the speech: what training reads), crops.npy (f, R, R, 3) uint8 RGB,
speech.wav (16 kHz, 16 bit), track.npy (n, 2) float32 (opening, width) at 100 Hz, frames_track.npy (f, 2) at the frame
times i / 25 s, and meta.json. A folder that has no clip.mp4 yet gets it from its crops and speech.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from demo.synthetic.clip import Alignment, TalkingClip
from demo.synthetic.film import write_training_film
from demo.synthetic.speech import add_noise, write_wav
from latentsync.errors import InputError
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.storage.temporary_files import temporary_path

logger = logging.getLogger(__name__)

PROGRAM = "synthetic clips"
_REMEDY = "name another folder with --out"
TRAINING_FILM = "clip.mp4"
NOISY_SHARE = 0.4


@dataclass(frozen=True)
class DatasetConfig:
    """A data set: clip k is a pure function of (seed, k, seconds, resolution, alignment)."""

    out: Path
    num_clips: int = 240
    seconds: float = 6.0
    seed: int = 0
    resolution: int = 128
    alignment: Alignment = "aligned"


def clip_folder(config: DatasetConfig, index: int) -> Path:
    """Where clip `index` lies."""
    return config.out / f"clip_{index:05d}"


def is_complete(config: DatasetConfig, index: int) -> bool:
    """Whether a clip is there with everything training reads."""
    return (clip_folder(config, index) / TRAINING_FILM).exists()


def make_clip(config: DatasetConfig, index: int) -> bool:
    """Make one clip, or what its folder lacks; whether anything was made. The folder and its film appear whole."""
    folder = clip_folder(config, index)
    if is_complete(config, index):
        return False
    if folder.exists():
        _write_film(folder)
        return True
    cv2.setNumThreads(1)
    clip = TalkingClip(config.seed, index, config.seconds)
    partial = temporary_path(folder)
    partial.mkdir(parents=True)
    try:
        _write(clip, config, partial)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return True


def _write(clip: TalkingClip, config: DatasetConfig, folder: Path) -> None:
    np.save(folder / "crops.npy", np.stack(list(clip.crops(config.resolution, config.alignment))))
    rng = np.random.default_rng([config.seed, clip.index, 4])
    samples = clip.samples
    if rng.random() < NOISY_SHARE:
        samples = add_noise(rng, samples, rng.uniform(20.0, 40.0))
    write_wav(folder / "speech.wav", samples)
    np.save(folder / "track.npy", clip.track)
    np.save(folder / "frames_track.npy", clip.frame_track)
    (folder / "meta.json").write_text(json.dumps(clip.description() | {"alignment": config.alignment}, indent=1))
    _write_film(folder)


def _write_film(folder: Path) -> None:
    if not (folder / "crops.npy").is_file() or not (folder / "speech.wav").is_file():
        raise InputError(f"{folder} lacks crops.npy or speech.wav: remove the folder, then it is made again")
    crops = np.load(folder / "crops.npy", mmap_mode="r")
    write_training_film(crops, folder / "speech.wav", folder / TRAINING_FILM)


def make_dataset(config: DatasetConfig, num_workers: int = 1) -> int:
    """Make or complete clips with `num_workers` processes; how many. Raises ToolError without espeak-ng or ffmpeg."""
    claim_folder(config.out, PROGRAM, _REMEDY, _is_of_older_version)
    with locked(config.out, f"wait for it, or {_REMEDY}"):
        return _make_missing(config, num_workers)


def _is_of_older_version(folder: Path) -> bool:
    return any((note.parent / "track.npy").is_file() for note in folder.glob("clip_[0-9]*/meta.json"))


def _make_missing(config: DatasetConfig, num_workers: int) -> int:
    missing = [k for k in range(config.num_clips) if not is_complete(config, k)]
    logger.info("%s: %d clips to make, %d there", config.out, len(missing), config.num_clips - len(missing))
    if num_workers <= 1:
        return sum(make_clip(config, k) for k in missing)
    made = 0
    with ProcessPoolExecutor(num_workers) as pool:
        for future in as_completed([pool.submit(make_clip, config, k) for k in missing]):
            made += future.result()
            if made % 20 == 0 or made == len(missing):
                logger.info("%d of %d clips made", made, len(missing))
    return made
