"""How well picture and sound of a clip go together, and by how many frames they are apart.

One sign for every judge, that of the published SyncNet tool: picture i belongs to the sound of frame ``i - offset``. A
positive offset is a picture that comes late (``ffmpeg -itsoffset`` would have to delay the sound); 0 is in sync.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

MAX_SHIFT = 15
"""Frames by which the sound is moved either way."""

SHIFTS = tuple(range(-MAX_SHIFT, MAX_SHIFT + 1))
"""Entry k of every curve compares picture i with the sound of frame ``i + SHIFTS[k]``."""


@dataclass(frozen=True)
class SyncScore:
    """A judge's verdict on one clip.

    Attributes:
        offset: frames by which the picture comes after its sound.
        confidence: how much the best shift stands out from the others; near 0 for unrelated sound.
        distance: between picture and sound at the best shift, in the judge's own measure.
    """

    offset: int
    confidence: float
    distance: float


class SyncScorer(Protocol):
    """Anything that judges the sync of one face."""

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """Judges one clip.

        Args:
            crops: (n, h, w, 3) uint8 RGB crops of one face, 25 a second.
            samples: (s,) float in [-1, 1] at 16 kHz; its first sample belongs to the first crop.

        Raises:
            InputError: the clip is too short to be judged.
        """
        ...


def distance_curve(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance at each of `SHIFTS`; beyond its ends the sound is all zeros.

    Args:
        lips, sound: (t, d) embeddings, one a frame; the longer one is cut.
    """
    num_frames = min(len(lips), len(sound))
    lips, sound = lips[:num_frames].astype(np.float64), sound[:num_frames].astype(np.float64)
    padded = np.pad(sound, ((MAX_SHIFT, MAX_SHIFT), (0, 0)))
    return np.array(
        [
            np.linalg.norm(lips - padded[MAX_SHIFT + shift : MAX_SHIFT + shift + num_frames], axis=1).mean()
            for shift in SHIFTS
        ]
    )


def score_distances(curve: np.ndarray) -> SyncScore:
    """The published verdict on a `distance_curve`: confidence is the median less the minimum."""
    best = int(np.argmin(curve))
    return SyncScore(-SHIFTS[best], float(np.median(curve) - curve[best]), float(curve[best]))
