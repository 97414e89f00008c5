"""Changes of a speech that leave its timing alone, so that a network hears more rooms, voices and microphones."""

import numpy as np

from latentsync.audio.sample_source import SAMPLE_RATE


def change_sound(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain, a tilt of the spectrum, a little room, and noise at 15 to 50 dB below the speech.

    samples: (n,) float in [-1, 1] at 16 kHz; returns the same shape, float32 in [-1, 1].
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
