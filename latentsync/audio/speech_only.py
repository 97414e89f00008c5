"""Speech without the sound between it: zeroed samples, and audio features that fade to those of silence."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentsync.audio.sample_source import SAMPLE_RATE, ArraySamples, SampleSource
from latentsync.audio.speech_activity import SpeechInterval
from latentsync.audio.whisper_features import ROWS_PER_SECOND, FeatureRows, WhisperFeatures
from latentsync.audio.whisper_model import CHUNK_ROWS, WhisperEncoder

FADE_S = 0.02
"""Length of the fades inside the edges of speech; the hangover is longer, so they touch no speech."""

ROW_FADE_S = 0.12
"""Audio features fade to those of silence over this time after speech, and back before it: three frames at 25 fps."""


class SpeechEdges:
    """Distance of positions in samples to the nearest edge of speech.

    The ends of the audio are no edges: speech that begins or ends there has no fade.

    Args:
        speech: intervals in order, without overlap, from `find_speech`.
        num_samples: length of the audio.
    """

    def __init__(self, speech: Sequence[SpeechInterval], num_samples: int) -> None:
        self._starts = np.array([-np.inf if one.start <= 0 else one.start for one in speech])
        self._stops = np.array([np.inf if one.stop >= num_samples else one.stop for one in speech])

    def is_speech(self, times_s: NDArray[np.floating] | float) -> NDArray[np.bool_]:
        """Return True for times within speech, the hangover included; of the shape of the argument."""
        positions = np.round(np.asarray(times_s) * SAMPLE_RATE)
        following = np.searchsorted(self._stops, positions, side="right")
        return np.append(self._starts, np.inf)[following] <= positions

    def distance_inside(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance (n,) to the nearest edge: positive within speech, negative outside of it."""
        following = np.searchsorted(self._stops, positions, side="right")  # first interval that ends later
        starts, stops = np.append(self._starts, np.inf), np.append(self._stops, np.inf)
        since_start, until_stop = positions - starts[following], stops[following] - positions
        since_stop = positions - np.concatenate(([-np.inf], self._stops))[following]
        return np.where(since_start >= 0, np.minimum(since_start, until_stop), np.maximum(since_start, -since_stop))


class SpeechOnly:
    """Audio whose samples outside speech are exactly zero; a `SampleSource`.

    Speech fades in and out over `FADE_S`, except where it begins or ends with the audio.

    Args:
        samples: the audio.
        speech: intervals in order, without overlap, from `find_speech`.
    """

    def __init__(self, samples: SampleSource, speech: Sequence[SpeechInterval]) -> None:
        self._samples, self._edges = samples, SpeechEdges(speech, samples.num_samples)

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self._samples.num_samples

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) as (stop - start,); zeros outside speech and outside [0, num_samples)."""
        inside = self._edges.distance_inside(np.arange(start, stop) + 0.5)
        gain = np.clip(inside / (FADE_S * SAMPLE_RATE), 0.0, 1.0)
        return self._samples.read(start, stop) * gain.astype(np.float32)


class ClosedMouthRows:
    """Audio features that become those of digital silence between speech, so that the mouth closes; a `FeatureRows`.

    Args:
        features: rows of the audio, of which row k is at k / 50 s.
        silence: (layers+1, width) from `silence_row`.
        edges: where speech begins and ends.

    Attributes:
        num_rows: that of `features`.
    """

    def __init__(self, features: FeatureRows, silence: Tensor, edges: SpeechEdges) -> None:
        self.num_rows = features.num_rows
        self._features, self._silence, self._edges = features, silence, edges

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) as (stop - start, layers+1, width)."""
        centres = (np.arange(start, stop) + 0.5) * (SAMPLE_RATE / ROWS_PER_SECOND)
        outside = -self._edges.distance_inside(centres)
        weight = np.clip(outside / (ROW_FADE_S * SAMPLE_RATE), 0.0, 1.0)
        rows = self._features.rows(start, stop)
        if not weight.any():
            return rows
        weights = torch.from_numpy(weight).to(rows.device, torch.float32)[:, None, None]
        return torch.lerp(rows.float(), self._silence.float(), weights).to(rows.dtype)


def silence_row(encoder: WhisperEncoder) -> Tensor:
    """Return the audio features (layers+1, width) of digital silence: the mean over one chunk of 30 s.

    The features of silence depend on the position in the chunk; their mean does not, so it moves no mouth.
    """
    features = WhisperFeatures(encoder, ArraySamples(np.zeros(CHUNK_ROWS * SAMPLE_RATE // ROWS_PER_SECOND, np.float32)))
    return features.rows(0, features.num_rows).float().mean(dim=0)
