"""A rule for the mouth predicted from speech: opening and width over time, computed from the audio alone.

Opening is the energy between 250 and 1300 Hz, gated near silence, times the centroid between 220 and 1100 Hz (the first
formant rises when a mouth opens). Width is the centroid between 700 and 3000 Hz (the second formant rises when lips
spread and falls when they round). The mouths of the demo's synthetic people move by this rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

TRACK_RATE_HZ = 100
_SMOOTHING_S = 0.026
_GATE_DB = 30.0
_SILENCE_LEVEL = 1e-3

_SAMPLE_RATE = 16000
_HOP = _SAMPLE_RATE // TRACK_RATE_HZ
_WINDOW = 512
_FFT = 1024
_HIGHEST_HZ = 3000.0
"""Highest frequency that the rule uses."""
_ROWS_AT_ONCE = 2000

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def mouth_track(samples: Floats) -> Floats:
    """Compute the mouth track of a recording.

    Levels and formants are relative to the whole recording, so that loud and quiet, low and high voices use the same
    range. Silence is a closed mouth of neutral width.

    Args:
        samples: (s,) in [-1, 1] at 16 kHz.

    Returns:
        (n, 2) with n = ceil(s / 160) + 1: opening in [0, 1] and width in [0, 1] (0.5 is neutral) at k / 100 seconds.
    """
    spectrum, frequencies = _spectrogram(samples)
    energy = 10.0 * np.log10(_band(spectrum, frequencies, 250, 1300).sum(axis=1) + 1e-12)
    loud = float(np.percentile(energy, 95))
    floor_db = 10.0 * np.log10((_SILENCE_LEVEL * _WINDOW / 4) ** 2)
    if loud < floor_db:
        return np.tile(np.array([[0.0, 0.5]], dtype=np.float32), (len(energy), 1))
    gate = np.clip((energy - (loud - _GATE_DB)) / _GATE_DB, 0.0, 1.0)
    voiced = gate > 0.35
    first = _scaled(_centroid(spectrum, frequencies, 220, 1100), voiced)
    second = _scaled(_centroid(spectrum, frequencies, 700, 3000), voiced)
    opening = gate**1.5 * (0.22 + 0.78 * first)
    presence = np.clip(gate / 0.4, 0.0, 1.0)
    width = 0.5 + (second - 0.5) * presence
    smooth = _SMOOTHING_S * TRACK_RATE_HZ
    opening, width = gaussian_filter1d(opening, smooth), gaussian_filter1d(width, smooth)
    high = float(np.percentile(opening[voiced], 93))
    opening = np.clip(opening / max(high, 1e-3) * 0.92, 0.0, 1.0)
    opening = np.clip((opening - 0.03) / 0.97, 0.0, 1.0)
    return np.stack([opening, np.clip(width, 0.0, 1.0)], axis=1).astype(np.float32)


def sample_track(track: Floats, times_s: NDArray[np.floating[Any]]) -> Floats:
    """Interpolate a track linearly at `times_s` (n,); return (n, 2). Beyond its ends the track is constant."""
    positions = np.asarray(times_s, dtype=np.float64) * TRACK_RATE_HZ
    rows = np.arange(len(track))
    columns = [np.interp(positions, rows, track[:, k]) for k in range(track.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _spectrogram(samples: Floats) -> tuple[Doubles, Doubles]:
    """Return the power (n, bins) of windows centred on every 10 ms, and the frequencies of the bins in Hz."""
    rows = -(-len(samples) // _HOP) + 1
    padded = np.zeros(rows * _HOP + _WINDOW, dtype=np.float64)
    padded[_WINDOW // 2 : _WINDOW // 2 + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:rows]
    frequencies = np.asarray(np.fft.rfftfreq(_FFT, 1.0 / _SAMPLE_RATE), dtype=np.float64)
    used = frequencies <= _HIGHEST_HZ
    power = np.empty((rows, int(used.sum())), dtype=np.float64)
    for start in range(0, rows, _ROWS_AT_ONCE):  # bounds the memory of the complex spectrum
        block = windows[start : start + _ROWS_AT_ONCE] * np.hanning(_WINDOW)
        power[start : start + _ROWS_AT_ONCE] = np.abs(np.fft.rfft(block, _FFT, axis=1)[:, used]) ** 2
    return power, frequencies[used]


def _band(spectrum: Doubles, frequencies: Doubles, low: float, high: float) -> Doubles:
    return spectrum[:, (frequencies >= low) & (frequencies <= high)]


def _centroid(spectrum: Doubles, frequencies: Doubles, low: float, high: float) -> Doubles:
    """Return the mean frequency (n,) of a band, weighted by amplitude and smoothed against the pitch's harmonics."""
    inside = (frequencies >= low) & (frequencies <= high)
    weight = np.sqrt(spectrum[:, inside]) + 1e-9
    moment = gaussian_filter1d((weight * frequencies[inside]).sum(axis=1), 1.0)
    return moment / gaussian_filter1d(weight.sum(axis=1), 1.0)


def _scaled(values: Doubles, voiced: NDArray[np.bool_]) -> Doubles:
    """Scale values to [0, 1] over their range in voiced audio."""
    low, high = np.percentile(values[voiced], [8.0, 92.0])
    return np.clip((values - low) / max(high - low, 1.0), 0.0, 1.0)
