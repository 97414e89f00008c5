"""Cutting windows out of a clip's pictures and sound, as the models take them."""

import numpy as np

from latentsync.audio.mel import COLUMNS_PER_SECOND


def model_pixels(frames: np.ndarray) -> np.ndarray:
    """Frames (f, h, w, 3) uint8 -> (f, 3, h, w) float32 in [-1, 1]."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(1)


def mel_columns(mel: np.ndarray, frame: int, fps: int, num_columns: int) -> np.ndarray:
    """Columns (1, 80, num_columns) float32 of a mel (80, T) that begin with video frame `frame`: int(80 frame / fps).

    Past the end of the sound its last column is repeated.
    """
    first = COLUMNS_PER_SECOND * frame // fps
    columns = np.arange(first, first + num_columns).clip(0, mel.shape[1] - 1)
    return np.asarray(mel[:, columns], dtype=np.float32)[None]
