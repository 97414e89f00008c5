"""The sound as SyncNet-v2 hears it: mel-frequency cepstral coefficients, by the package its authors used."""

import numpy as np
from python_speech_features import mfcc

from latentsync.audio.sample_source import SAMPLE_RATE

COLUMNS_PER_FRAME = 4
"""100 columns a second at 25 frames a second."""


def speech_coefficients(samples: np.ndarray) -> np.ndarray:
    """MFCC (13, columns) float32 of samples (s,) in [-1, 1] at 16 kHz: 25 ms windows, 100 a second.

    python_speech_features' defaults, on 16-bit samples.
    """
    whole = np.clip(np.round(np.asarray(samples, dtype=np.float64) * 32768), -32768, 32767).astype(np.int16)
    return mfcc(whole, SAMPLE_RATE).T.astype(np.float32)


def sound_windows(coefficients: np.ndarray, num_columns: int) -> np.ndarray:
    """Windows (n, 1, 13, num_columns), one per video frame, that lie wholly inside the coefficients (13, columns)."""
    num_windows = max((coefficients.shape[1] - num_columns) // COLUMNS_PER_FRAME + 1, 0)
    starts = COLUMNS_PER_FRAME * np.arange(num_windows)
    windows = [coefficients[:, start : start + num_columns] for start in starts]
    shape = (0, coefficients.shape[0], num_columns)
    return (np.stack(windows) if windows else np.zeros(shape, np.float32))[:, None]
