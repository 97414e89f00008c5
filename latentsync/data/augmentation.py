"""Augmentation of training items: colour changes of frames, and changes of speech that keep its timing."""

import numpy as np

from latentsync.audio.sample_source import SAMPLE_RATE

_VARIANT_COLOUR = 0.2
"""Strength of the colour change of `vary_frames`."""
_LUMA = np.array([0.299, 0.587, 0.114])


def random_colour(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a colour change for `change_colour`: matrix (3, 3), offset (3,) and gamma (1,).

    At strength 1: hue rotation up to +-0.5 radians (with probability 0.6), saturation 0.3 to 1.8, gain per channel 0.7
    to 1.25, offset +-0.12, gamma 0.7 to 1.4. The ranges shrink with `strength`, in [0, 1].
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
    """Map pixels (..., 3) in [0, 1] to clip(matrix @ pixel + offset, 0, 1) ** gamma, float32."""
    mixed = frames.astype(np.float32) @ matrix.T.astype(np.float32) + offset.astype(np.float32)
    return mixed.clip(0, 1) ** np.float32(gamma)


def vary_frames(frames: np.ndarray, variant: int, content_key: str) -> np.ndarray:
    """Return a variant of a clip's frames (f, h, w, 3) uint8, the same for all its frames and in every run.

    Variant 0 is the clip itself, odd variants are mirrored, and those above 1 have a small colour change.

    Args:
        frames: frames of the clip.
        variant: number of the variant.
        content_key: hex digits that determine the colour change, together with the variant.
    """
    if variant % 2:
        frames = frames[..., ::-1, :]
    if variant > 1:
        rng = np.random.default_rng([variant, int(content_key[:15], 16)])
        changed = change_colour(frames.astype(np.float32) / 255, *random_colour(rng, _VARIANT_COLOUR))
        frames = np.round(changed * 255).astype(np.uint8)
    return np.ascontiguousarray(frames)


def _hue_rotation(angle: float) -> np.ndarray:
    """Return the rotation (3, 3) by `angle` radians about the grey axis (Rodrigues' formula)."""
    k = 3**-0.5
    cross = np.array([[0, -k, k], [k, 0, -k], [-k, k, 0]])
    outer = np.full((3, 3), 1 / 3)
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * outer


def change_speech(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary voice, room and microphone: gain, spectral tilt, one echo, and noise at 15 to 50 dB below the speech.

    Args:
        samples: (n,) float in [-1, 1] at 16 kHz.
        rng: source of the random choices.

    Returns:
        (n,) float32 in [-1, 1]; the timing is unchanged.
    """
    spectrum = np.fft.rfft(samples)
    frequency = np.linspace(0, 1, len(spectrum))
    knots = rng.uniform(-7, 7, 6) * (rng.random() < 0.7)
    spectrum = spectrum * 10 ** (np.interp(frequency**0.5, np.linspace(0, 1, 6), knots) / 20)
    if rng.random() < 0.3:
        delay = rng.uniform(0.004, 0.03) * SAMPLE_RATE
        spectrum = spectrum * (1 + rng.uniform(0.1, 0.4) * np.exp(-1j * np.pi * frequency * delay))
    speech = np.fft.irfft(spectrum, len(samples))
    level = np.sqrt(np.mean(speech**2)) + 1e-6
    white = np.fft.rfft(rng.standard_normal(len(samples)))
    colour = (frequency + 0.01) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(white * colour, len(samples))
    noise *= level * 10 ** (-rng.uniform(15, 50) / 20) / np.sqrt(np.mean(noise**2))
    gain = 10 ** (rng.uniform(-15, 6) / 20)
    return (gain * (speech + noise)).clip(-1, 1).astype(np.float32)
