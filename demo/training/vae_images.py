"""Training images of the demo VAE: augmented crops, masked crops, procedural textures and mixtures of them."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo.training.demo_network import ClipItems
from latentsync.data.augmentation import change_colour, random_colour
from latentsync.data.batching import ItemKey, item_generator, item_seed
from latentsync.face.mask import keep_mask

_TEXTURE_SHARE, _MIXED_SHARE = 0.12, 0.08
_PLAIN_SHARE, _MASKED_SHARE = 0.35, 0.25


class VaeImages(ClipItems):
    """One image per item: a crop of the clip, or a procedural texture in its place."""

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """Return one item.

        Returns:
            `image` (3, R, R) float32 in [-1, 1]; `seed` of the random draws of the training step; `clip` its folder.
        """
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        image = random_image(clip.crops, generator).astype(np.float32) / 255
        if generator.random() >= _PLAIN_SHARE:
            image = change_colour(image, *random_colour(generator, 1.0))
        image = np.ascontiguousarray(image.transpose(2, 0, 1)) * 2 - 1
        if generator.random() < _MASKED_SHARE:
            image = image * keep_mask(image.shape[-1]).numpy()
        return {"image": image, "seed": item_seed(self.seed, key), "clip": str(clip.folder)}


def random_image(crops: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return an image (R, R, 3) uint8: a crop (80 %), a texture (12 %) or a crop with a textured rectangle (8 %)."""
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


def random_texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a texture (size, size, 3) uint8 RGB: dead leaves (60 %), stripes (15 %) or a gradient, sometimes blurred.

    Textures contain colours and edges that no rendered head has.
    """
    image = _gradient(rng, size)
    kind = rng.random()
    if kind < 0.6:
        image = _dead_leaves(rng, image)
    elif kind < 0.75:
        image = _stripes(rng, size)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 4))))
    pixels = np.asarray(image, dtype=np.float32)
    if rng.random() < 0.4:
        pixels = pixels + rng.normal(0, rng.uniform(1, 8), pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a random colour; half of them have reduced saturation."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:
        colour = colour.mean() + 0.35 * (colour - colour.mean())
    return int(colour[0]), int(colour[1]), int(colour[2])


def _gradient(rng: np.random.Generator, size: int) -> Image.Image:
    """Interpolate smoothly between four corner colours."""
    corners = np.array([_random_colour(rng) for _ in range(4)], dtype=np.uint8).reshape(2, 2, 3)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)


def _stripes(rng: np.random.Generator, size: int) -> Image.Image:
    """Draw sine stripes of any direction between two colours."""
    y, x = np.mgrid[:size, :size] / size
    angle, cycles = rng.uniform(0, np.pi), rng.uniform(1, 20)
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)))
    wave = np.clip(wave * rng.uniform(0.5, 5), -1, 1)[..., None] * 0.5 + 0.5
    first, second = np.array(_random_colour(rng)), np.array(_random_colour(rng))
    return Image.fromarray((first * wave + second * (1 - wave)).astype(np.uint8))


def _dead_leaves(rng: np.random.Generator, background: Image.Image) -> Image.Image:
    """Draw overlapping ellipses and polygons whose radii follow the inverse-cube law of natural images."""
    size = background.width
    image = background.resize((2 * size, 2 * size))
    draw = ImageDraw.Draw(image)
    min_radius, max_radius = 0.02 * size, 0.5 * size
    for _ in range(int(rng.integers(15, 90))):
        u = rng.random()
        radius = 2 * (min_radius**-1 * (1 - u) + max_radius**-1 * u) ** -1
        cx, cy = rng.uniform(0, 2 * size, 2)
        if rng.random() < 0.6:
            ry = radius * rng.uniform(0.4, 1)
            draw.ellipse((cx - radius, cy - ry, cx + radius, cy + ry), fill=_random_colour(rng))
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            points = [(cx + radius * np.cos(a), cy + radius * np.sin(a)) for a in angles]
            draw.polygon(points, fill=_random_colour(rng))
    return image.resize((size, size), Image.Resampling.BOX)
