"""The synthetic clips on disk, memory-mapped."""

import json
import wave
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from latentsync.errors import InputError

FRAMES_PER_SECOND = 25
TRACK_ROWS_PER_SECOND = 100
AUDIO_SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Clip:
    """One synthetic clip: aligned crops, its speech and the true mouth track."""

    folder: Path

    def __reduce__(self) -> tuple[type["Clip"], tuple[Path]]:
        """Goes to another process by name, which opens the files itself."""
        return Clip, (self.folder,)

    @cached_property
    def crops(self) -> np.ndarray:
        """Aligned crops (f, h, w, 3) uint8 RGB, memory-mapped."""
        return np.load(self.folder / "crops.npy", mmap_mode="r")

    @cached_property
    def track(self) -> np.ndarray:
        """Mouth opening and width (rows, 2) float32, 100 rows a second."""
        return np.load(self.folder / "track.npy").astype(np.float32)

    @cached_property
    def frames_track(self) -> np.ndarray:
        """Mouth opening and width at each frame (f, 2) float32."""
        return np.load(self.folder / "frames_track.npy").astype(np.float32)

    @cached_property
    def meta(self) -> dict:
        """What the renderer wrote down about this clip."""
        return json.loads((self.folder / "meta.json").read_text())

    def speech(self) -> np.ndarray:
        """Mono samples (n,) float32 at 16 kHz, range [-1, 1]."""
        with wave.open(str(self.folder / "speech.wav")) as file:
            layout = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            if layout != (AUDIO_SAMPLE_RATE, 1, 2):
                raise InputError(f"{self.folder / 'speech.wav'}: expected mono 16-bit sound at {AUDIO_SAMPLE_RATE} Hz")
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32768


CLIP_FILES = ("crops.npy", "speech.wav", "track.npy", "frames_track.npy", "meta.json")


def find_clips(folder: Path) -> list[Clip]:
    """All complete clips below `folder`, by name. Raises InputError when there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make the clips with `python -m demo.synthetic`")
    clips = [Clip(path) for path in sorted(folder.iterdir()) if all((path / name).is_file() for name in CLIP_FILES)]
    if not clips:
        raise InputError(f"{folder}: holds no complete clips; make them with `python -m demo.synthetic`")
    return clips
