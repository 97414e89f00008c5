"""Data sets of synthetic face clips with exact mouth tracks, one folder per clip; writing them is resumable.

A folder contains clip.mp4 (the crops with the speech: the training clip), crops.npy (f, R, R, 3) uint8 RGB, speech.wav
(16 kHz, 16 bit), track.npy (n, 2) float32 (opening, width) at 100 Hz, frames_track.npy (f, 2) at the frame times
i / 25 s, and meta.json. A folder without clip.mp4 is completed from its crops and speech.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import wave
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from demo.synthetic.clip import Alignment, Look, TalkingClip
from demo.synthetic.speech import SAMPLE_RATE, add_noise, write_wav
from latentsync.errors import InputError
from latentsync.media.training_clip import write_training_clip
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.storage.temporary_files import temporary_path

logger = logging.getLogger(__name__)

PROGRAM = "synthetic clips"
TRAINING_CLIP = "clip.mp4"
CLIP_FILES = ("crops.npy", "speech.wav", "track.npy", "frames_track.npy", "meta.json")
_REMEDY = "name another folder with --out"
_NOISY_SHARE = 0.4
"""Share of the clips whose speech gets noise, at 20 to 40 dB below it."""


@dataclass(frozen=True)
class Clip:
    """Synthetic clip on disk: aligned crops, speech and the true mouth track."""

    folder: Path

    def __reduce__(self) -> tuple[type[Clip], tuple[Path]]:
        """Pickle only the folder; the other process opens the files itself."""
        return Clip, (self.folder,)

    @cached_property
    def crops(self) -> np.ndarray:
        """Aligned crops (f, h, w, 3) uint8 RGB, memory-mapped."""
        return np.load(self.folder / "crops.npy", mmap_mode="r")

    @cached_property
    def track(self) -> np.ndarray:
        """Mouth opening and width (rows, 2) float32, 100 rows per second."""
        return np.load(self.folder / "track.npy").astype(np.float32)

    @cached_property
    def frames_track(self) -> np.ndarray:
        """Mouth opening and width of each frame (f, 2) float32."""
        return np.load(self.folder / "frames_track.npy").astype(np.float32)

    @cached_property
    def meta(self) -> dict:
        """Description of the clip: seed, index, person, scene and speech."""
        return json.loads((self.folder / "meta.json").read_text())

    def speech(self) -> np.ndarray:
        """Return mono samples (n,) float32 in [-1, 1] at 16 kHz. Raises InputError for another format."""
        with wave.open(str(self.folder / "speech.wav")) as file:
            layout = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            if layout != (SAMPLE_RATE, 1, 2):
                raise InputError(f"{self.folder / 'speech.wav'}: expected mono 16-bit audio at {SAMPLE_RATE} Hz")
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32768


def find_clips(folder: Path) -> list[Clip]:
    """Return all complete clips in `folder`, sorted by name. Raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: create the clips with `python -m demo.synthetic`")
    clips = [Clip(path) for path in sorted(folder.iterdir()) if all((path / name).is_file() for name in CLIP_FILES)]
    if not clips:
        raise InputError(f"{folder} contains no complete clips: create them with `python -m demo.synthetic`")
    return clips


@dataclass(frozen=True)
class DatasetConfig:
    """Settings of a data set; clip k is a function of (seed, k, seconds, resolution, alignment, look)."""

    out: Path
    num_clips: int = 240
    seconds: float = 6.0
    seed: int = 0
    resolution: int = 128
    alignment: Alignment = "aligned"
    look: Look | Literal["mixed"] = "plain"

    def look_of(self, index: int) -> Look:
        """Return the look of a clip; every fifth of a mixed data set is plain."""
        if self.look == "mixed":
            return "varied" if index % 5 else "plain"
        return self.look


def clip_folder(config: DatasetConfig, index: int) -> Path:
    """Return the folder of clip `index`."""
    return config.out / f"clip_{index:05d}"


def is_complete(config: DatasetConfig, index: int) -> bool:
    """Return True if clip `index` exists with its training clip, which is written last."""
    return (clip_folder(config, index) / TRAINING_CLIP).exists()


def make_clip(config: DatasetConfig, index: int) -> bool:
    """Create a clip, or complete its folder, atomically. Return False if it was complete."""
    folder = clip_folder(config, index)
    if is_complete(config, index):
        return False
    if folder.exists():
        _write_training_clip(folder)
        return True
    cv2.setNumThreads(1)
    clip = TalkingClip(config.seed, index, config.seconds, look=config.look_of(index))
    partial = temporary_path(folder)
    partial.mkdir(parents=True)
    try:
        _write_folder(clip, config, partial)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return True


def _write_folder(clip: TalkingClip, config: DatasetConfig, folder: Path) -> None:
    np.save(folder / "crops.npy", np.stack(list(clip.crops(config.resolution, config.alignment))))
    rng = np.random.default_rng([config.seed, clip.index, 4])
    samples = clip.samples
    if rng.random() < _NOISY_SHARE:
        samples = add_noise(rng, samples, rng.uniform(20.0, 40.0))
    write_wav(folder / "speech.wav", samples)
    np.save(folder / "track.npy", clip.track)
    np.save(folder / "frames_track.npy", clip.frame_track)
    (folder / "meta.json").write_text(json.dumps(clip.description() | {"alignment": config.alignment}, indent=1))
    _write_training_clip(folder)


def _write_training_clip(folder: Path) -> None:
    if not (folder / "crops.npy").is_file() or not (folder / "speech.wav").is_file():
        raise InputError(f"{folder} lacks crops.npy or speech.wav: remove the folder, then it is created again")
    crops = np.load(folder / "crops.npy", mmap_mode="r")
    write_training_clip(crops, crops.shape[1], folder / "speech.wav", folder / TRAINING_CLIP)


def make_dataset(config: DatasetConfig, num_workers: int = 1) -> int:
    """Create all missing clips, and complete unfinished ones.

    Args:
        config: the data set.
        num_workers: number of processes.

    Returns:
        Number of clips that were created or completed.

    Raises:
        InputError: the folder belongs to another program or is in use.
        ToolError: espeak-ng or ffmpeg is missing or fails.
    """
    claim_folder(config.out, PROGRAM, _REMEDY, _is_of_older_version)
    with locked(config.out, f"wait for it, or {_REMEDY}"):
        _check_existing(config)
        return _make_missing(config, num_workers)


def _check_existing(config: DatasetConfig) -> None:
    """Raise InputError if a clip was created with other settings, which would not belong to this data set."""
    for index in range(config.num_clips):
        folder = clip_folder(config, index)
        if not (folder / "meta.json").is_file() or not (folder / "crops.npy").is_file():
            continue
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        wanted = {"seed": config.seed, "look": config.look_of(index), "alignment": config.alignment}
        made = {name: meta.get(name, value) for name, value in wanted.items()}
        made["resolution"] = np.load(folder / "crops.npy", mmap_mode="r").shape[1]
        wanted["resolution"] = config.resolution
        if made != wanted:
            raise InputError(f"{folder} was created with {_described(made)}, not {_described(wanted)}: {_REMEDY}")


def _described(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _is_of_older_version(folder: Path) -> bool:
    return any((note.parent / "track.npy").is_file() for note in folder.glob("clip_[0-9]*/meta.json"))


def _make_missing(config: DatasetConfig, num_workers: int) -> int:
    missing = [k for k in range(config.num_clips) if not is_complete(config, k)]
    logger.info("%s: %d clips to create, %d exist", config.out, len(missing), config.num_clips - len(missing))
    if num_workers <= 1:
        return sum(make_clip(config, k) for k in missing)
    num_made = 0
    with ProcessPoolExecutor(num_workers) as pool:
        try:
            for future in as_completed([pool.submit(make_clip, config, k) for k in missing]):
                num_made += future.result()
                if num_made % 20 == 0 or num_made == len(missing):
                    logger.info("%d of %d clips are created", num_made, len(missing))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return num_made
