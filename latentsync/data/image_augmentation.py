"""Changes of a window's picture: lower half, mirror, and one colour change for all of its frames."""

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])


def lower_half(frames: np.ndarray) -> np.ndarray:
    """The lower half of frames (f, h, w, 3), as (f, h / 2, w, 3)."""
    return frames[:, frames.shape[1] // 2 :]


def random_colour(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random colour change for `change_colour`: matrix (3, 3), offset (3,) and gamma (1,).

    Hue turns by up to 0.5 radians (in 6 of 10), saturation 0.3 to 1.8, gain per channel 0.7 to 1.25, offset +-0.12,
    gamma 0.7 to 1.4, all at strength 1 and less at less.
    """
    angle = rng.uniform(-0.5, 0.5) * strength * (rng.random() < 0.6)
    saturation = rng.uniform(1 - 0.7 * strength, 1 + 0.8 * strength)
    gain = np.diag(rng.uniform(1 - 0.3 * strength, 1 + 0.25 * strength, 3))
    grey = np.ones((3, 1)) * _LUMA
    matrix = gain @ (grey + saturation * (_hue_rotation(angle) - grey))
    offset = np.full(3, rng.uniform(-0.12, 0.12) * strength)
    return matrix, offset, rng.uniform(1 - 0.3 * strength, 1 + 0.4 * strength, 1)


def change_colour(
    frames: np.ndarray, matrix: np.ndarray, offset: np.ndarray, gamma: np.ndarray | float = 1.0
) -> np.ndarray:
    """Pixels (..., 3) in [0, 1] -> (matrix @ pixel + offset, clipped to [0, 1]) ** gamma, float32."""
    mixed = frames.astype(np.float32) @ matrix.T.astype(np.float32) + offset.astype(np.float32)
    return mixed.clip(0, 1) ** np.float32(gamma)


def _hue_rotation(angle: float) -> np.ndarray:
    """Rotation (3, 3) about the grey axis by `angle` radians (Rodrigues)."""
    k = 3**-0.5
    cross = np.array([[0, -k, k], [k, 0, -k], [-k, k, 0]])
    outer = np.full((3, 3), 1 / 3)
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * outer
