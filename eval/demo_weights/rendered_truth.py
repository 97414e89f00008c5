"""What a perfect dub looks like: the same synthetic person, moving the same way, rendered with the other speech."""

from itertools import islice
from pathlib import Path

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.clip_set import FRAMES_PER_SECOND, Clip
from eval.demo_weights.setup import clip_key
from latentsync.errors import InputError
from latentsync.storage.content_cache import ArrayCache, cache_key

_UPPER_SHARE = 1 / 3
"""Of the crop; nothing there moves with the speech."""


def truth_of(clip: Clip, driver: Clip, num_frames: int, cache: Path) -> np.ndarray:
    """Crops (num_frames, R, R, 3) uint8 of the clip's person saying what the driver says; rendered once, then read.

    Raises:
        InputError: the clips differ in length, or were made by another version of the renderer.
    """
    if driver.folder == clip.folder:
        return clip.crops[:num_frames]
    if len(clip.crops) != len(driver.crops):
        raise InputError(f"{clip.folder} and {driver.folder} differ in length: make the set with one --seconds")
    key = cache_key("rendered truth", clip_key(clip), clip_key(driver), num_frames)
    truth = ArrayCache(cache).get(key, lambda: _render(clip, driver, num_frames))
    rows = slice(0, int(_UPPER_SHARE * truth.shape[1]))
    difference = truth[:, rows].astype(np.int16) - clip.crops[:num_frames, rows]
    if np.abs(difference).max() > 1:
        raise InputError(f"{clip.folder} is not what the renderer draws now: make the clips anew")
    return truth


def _render(clip: Clip, driver: Clip, num_frames: int) -> np.ndarray:
    duration_s = len(clip.crops) / FRAMES_PER_SECOND
    speech = TalkingClip(driver.meta["seed"], driver.meta["index"], duration_s).samples  # without the added noise
    talking = TalkingClip(clip.meta["seed"], clip.meta["index"], duration_s, speech)
    return np.stack(list(islice(talking.crops(clip.crops.shape[1]), num_frames)))
