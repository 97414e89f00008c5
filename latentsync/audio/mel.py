"""SyncNet's mel spectrogram (librosa's conventions; the parameters of Wav2Lip's audio front end)."""

from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentsync.audio.sample_source import SAMPLE_RATE

NUM_FFT = 800
HOP_LENGTH = 200
NUM_MELS = 80
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
"""Mel columns of 12.5 ms."""
MIN_FREQUENCY_HZ = 55.0
MAX_FREQUENCY_HZ = 7600.0

Mel = TypeVar("Mel", NDArray[np.float32], Tensor)

_PRE_EMPHASIS = 0.97
_MIN_LEVEL_DB = -100.0
_REFERENCE_DB = 20.0
_MAX_ABSOLUTE = 4.0


def syncnet_mel(samples: NDArray[np.floating] | Tensor) -> Tensor:
    """Compute the mel spectrogram of audio, 80 columns per second.

    It is computed in float64 on the CPU, because levels in dB are sensitive to rounding in quiet passages.

    Args:
        samples: (n,) in [-1, 1] at 16 kHz.

    Returns:
        (80, 1 + n // 200) float32 in [-4, 4].
    """
    wave = torch.as_tensor(samples).detach().to("cpu", torch.float64)
    emphasised = torch.cat([wave[:1], wave[1:] - _PRE_EMPHASIS * wave[:-1]])
    spectrum = torch.stft(
        emphasised,
        NUM_FFT,
        HOP_LENGTH,
        window=torch.hann_window(NUM_FFT, dtype=torch.float64),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    floor = 10 ** (_MIN_LEVEL_DB / 20)
    level_db = 20 * (_filters() @ spectrum.abs()).clamp(min=floor).log10() - _REFERENCE_DB
    scaled = 2 * _MAX_ABSOLUTE * (level_db - _MIN_LEVEL_DB) / -_MIN_LEVEL_DB - _MAX_ABSOLUTE
    return scaled.clamp(-_MAX_ABSOLUTE, _MAX_ABSOLUTE).float()


def mel_window(mel: Mel, frame_index: int, fps: float = 25, num_columns: int = 52, repeat_last: bool = False) -> Mel:
    """Return the columns of a mel that start at the time of a video frame, from column int(80 i / fps) on.

    Args:
        mel: (80, T), an array or a tensor.
        frame_index: i, first frame of the window.
        fps: frames per second of the video.
        num_columns: columns of the window.
        repeat_last: repeat the last column beyond the end of the mel instead of raising an error.

    Returns:
        (80, num_columns).

    Raises:
        ValueError: the window exceeds the mel.
    """
    start, num_available = int(COLUMNS_PER_SECOND * frame_index / fps), mel.shape[-1]
    if repeat_last:
        return mel[..., np.arange(start, start + num_columns).clip(0, num_available - 1)]
    if start < 0 or start + num_columns > num_available:
        raise ValueError(f"mel columns {start}..{start + num_columns} of frame {frame_index} exceed {num_available}")
    return mel[..., start : start + num_columns]


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    from transformers.audio_utils import mel_filter_bank  # slow to import

    bank = mel_filter_bank(
        num_frequency_bins=NUM_FFT // 2 + 1,
        num_mel_filters=NUM_MELS,
        min_frequency=MIN_FREQUENCY_HZ,
        max_frequency=MAX_FREQUENCY_HZ,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank.T.copy()).to(torch.float64)
