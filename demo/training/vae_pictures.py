"""What the demo VAE trains on: jittered crops, masked crops, textures and mixtures of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from demo.synthetic.clip_set import Clip
from demo.training.textures import random_texture
from latentsync.data.augmentation import change_colour, random_colour
from latentsync.data.batching import ItemKey, item_generator, item_seed
from latentsync.face.mask import keep_mask

_TEXTURE_SHARE, _MIXED_SHARE = 0.12, 0.08
_PLAIN_SHARE, _MASKED_SHARE = 0.35, 0.25


class VaePictures(Dataset):
    """One picture of a clip, or a procedural texture in its place; named by `ItemKey`."""

    def __init__(self, clips: Sequence[Clip], seed: int):
        self.clips = clips
        self.seed = seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """`picture` (3, R, R) float32 in [-1, 1]; `seed` for what the step draws; `clip` its folder."""
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        picture = random_picture(clip.crops, generator).astype(np.float32) / 255
        if generator.random() >= _PLAIN_SHARE:
            picture = change_colour(picture, *random_colour(generator, 1.0))
        picture = np.ascontiguousarray(picture.transpose(2, 0, 1)) * 2 - 1
        if generator.random() < _MASKED_SHARE:
            picture = picture * keep_mask(picture.shape[-1]).numpy()
        return {"picture": picture, "seed": item_seed(self.seed, key), "clip": str(clip.folder)}


def random_picture(crops: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One picture (R, R, 3) uint8: a crop (80 %), a texture (12 %), a crop with a piece of texture on it (8 %)."""
    kind = generator.random()
    size = crops.shape[1]
    if kind < _TEXTURE_SHARE:
        return random_texture(generator, size)
    crop = np.array(crops[generator.integers(len(crops))])
    if generator.random() < 0.5:
        crop = crop[:, ::-1]
    if kind < _TEXTURE_SHARE + _MIXED_SHARE:
        (y0, y1), (x0, x1) = np.sort(generator.integers(0, size + 1, (2, 2)), axis=1)
        crop = crop.copy()
        crop[y0:y1, x0:x1] = random_texture(generator, size)[y0:y1, x0:x1]
    return crop
