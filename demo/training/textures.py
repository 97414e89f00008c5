"""Procedural pictures (dead leaves, gradients, stripes): colours and edges that no rendered head has."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def random_texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """One picture (size, size, 3) uint8 RGB: half dead leaves, else a gradient or stripes, sometimes blurred."""
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
    """Any colour, half of the time a muted one."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:
        colour = colour.mean() + 0.35 * (colour - colour.mean())
    return int(colour[0]), int(colour[1]), int(colour[2])


def _gradient(rng: np.random.Generator, size: int) -> Image.Image:
    """Smooth field between four corner colours."""
    corners = np.array([_random_colour(rng) for _ in range(4)], dtype=np.uint8).reshape(2, 2, 3)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)


def _stripes(rng: np.random.Generator, size: int) -> Image.Image:
    """Sine stripes of any direction between two colours."""
    y, x = np.mgrid[:size, :size] / size
    angle, cycles = rng.uniform(0, np.pi), rng.uniform(1, 20)
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)))
    wave = np.clip(wave * rng.uniform(0.5, 5), -1, 1)[..., None] * 0.5 + 0.5
    first, second = np.array(_random_colour(rng)), np.array(_random_colour(rng))
    return Image.fromarray((first * wave + second * (1 - wave)).astype(np.uint8))


def _dead_leaves(rng: np.random.Generator, background: Image.Image) -> Image.Image:
    """Overlapping ellipses and polygons whose radii follow the inverse-cube law of natural images."""
    size = background.width
    image = background.resize((2 * size, 2 * size))
    draw = ImageDraw.Draw(image)
    smallest, largest = 0.02 * size, 0.5 * size
    for _ in range(int(rng.integers(15, 90))):
        u = rng.random()
        radius = 2 * (smallest**-1 * (1 - u) + largest**-1 * u) ** -1
        cx, cy = rng.uniform(0, 2 * size, 2)
        if rng.random() < 0.6:
            ry = radius * rng.uniform(0.4, 1)
            draw.ellipse((cx - radius, cy - ry, cx + radius, cy + ry), fill=_random_colour(rng))
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            points = [(cx + radius * np.cos(a), cy + radius * np.sin(a)) for a in angles]
            draw.polygon(points, fill=_random_colour(rng))
    return image.resize((size, size), Image.Resampling.BOX)
