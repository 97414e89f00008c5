"""Small held-out clips made of nothing: plain faces with a bar for a mouth, and noise as loud as the bar is high."""

import json
import wave
from pathlib import Path

import numpy as np

NUM_FRAMES = 60
SIZE = 64


def write_clips(root: Path, num_clips: int) -> Path:
    for index in range(num_clips):
        folder = root / f"clip_{index:05d}"
        rng = np.random.default_rng(index)
        opening = np.clip(0.5 + 0.5 * np.sin(np.arange(NUM_FRAMES) / (3 + index)), 0, 1).astype(np.float32)
        track = np.stack([opening, 1 - opening**2], axis=1)
        shade = rng.integers(60, 180, 3) + np.arange(SIZE)[:, None, None]
        crops = np.broadcast_to(shade, (NUM_FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
        for frame, share in enumerate(opening):
            half = round(1 + 7 * share)
            crops[frame, 45 - half : 45 + half, 22:42] = 20
        samples = rng.standard_normal(640 * NUM_FRAMES) * np.repeat(opening, 640) * 4000
        write_clip(folder, crops, track, samples, {"seed": 0, "index": index})
    return root


def write_clip(
    folder: Path, crops: np.ndarray, frames_track: np.ndarray, samples: np.ndarray, meta: dict[str, int] | None = None
) -> None:
    """Write a clip's files: crops (f, h, w, 3) uint8, mouths (f, 2), speech (n,) in 16-bit steps."""
    folder.mkdir(parents=True)
    np.save(folder / "crops.npy", crops)
    np.save(folder / "track.npy", np.repeat(frames_track, 4, axis=0))
    np.save(folder / "frames_track.npy", frames_track)
    (folder / "meta.json").write_text(json.dumps(meta or {}))
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
