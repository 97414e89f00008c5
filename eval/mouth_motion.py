"""How much the mouth region of aligned crops changes from frame to frame."""

import numpy as np

from eval.face_clips import FaceClip
from latentsync.judges.crop_measures import mouth_region

_CHUNK_FRAMES = 250


def mouth_motion(clip: FaceClip, order: int) -> np.ndarray:
    """(n,) mean absolute difference over time of the mouth region, in grey levels (0-255), NaN where there is none.

    Entry i is of frames i - order ... i, which must all show the face. Order 1 is change, order 2 what jumps back and
    forth (steady motion gives nothing).
    """
    motion = np.full(len(clip), np.nan)
    for stretch in clip.stretches(order + 1):
        for start in range(stretch.start, stretch.stop - order, _CHUNK_FRAMES):
            stop = min(start + _CHUNK_FRAMES + order, stretch.stop)
            mouths = mouth_region(clip.crops[start:stop]).astype(np.float32)
            motion[start + order : stop] = np.abs(np.diff(mouths, n=order, axis=0)).mean(axis=(1, 2, 3))
    return motion
