"""Sync scores: the offset between video and audio of a clip, and how confident a SyncNet is of it.

All scorers use the sign of the published SyncNet tool: frame i matches the audio of frame ``i - offset``. A positive
offset means that the video is late (``ffmpeg -itsoffset`` would have to delay the audio); 0 is in sync.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

MAX_SHIFT = 15
"""Largest shift of the audio in either direction, in frames."""

SHIFTS = tuple(range(-MAX_SHIFT, MAX_SHIFT + 1))
"""Entry k of every curve compares frame i with the audio of frame ``i + SHIFTS[k]``."""


@dataclass(frozen=True)
class SyncScore:
    """Sync score of one clip.

    Attributes:
        offset: frames by which the video lags behind its audio.
        confidence: how much the best shift stands out from the others; near 0 for unrelated audio.
        distance: between video and audio embeddings at the best shift, in the scorer's own unit.
    """

    offset: int
    confidence: float
    distance: float


class SyncScorer(Protocol):
    """Interface of networks that score the sync of one face."""

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """Score one clip.

        Args:
            crops: (n, h, w, 3) uint8 RGB crops of one face, 25 per second.
            samples: (s,) float in [-1, 1] at 16 kHz; its first sample coincides with the first crop.

        Raises:
            InputError: the clip is too short.
        """
        ...


def distance_curve(lips: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Return the mean Euclidean distance (31,) at each of `SHIFTS`; the audio is zero-padded at both ends.

    Args:
        lips, audio: (t, d) embeddings, one per frame; the longer one is truncated.
    """
    num_frames = min(len(lips), len(audio))
    lips, audio = lips[:num_frames].astype(np.float64), audio[:num_frames].astype(np.float64)
    padded = np.pad(audio, ((MAX_SHIFT, MAX_SHIFT), (0, 0)))
    return np.array(
        [
            np.linalg.norm(lips - padded[MAX_SHIFT + shift : MAX_SHIFT + shift + num_frames], axis=1).mean()
            for shift in SHIFTS
        ]
    )


def score_distances(curve: np.ndarray) -> SyncScore:
    """Return the score of a `distance_curve` as published: confidence is the median minus the minimum."""
    best = int(np.argmin(curve))
    return SyncScore(-SHIFTS[best], float(np.median(curve) - curve[best]), float(curve[best]))
