"""Active speaker detection: which visible face moves its lips with the sound of the video.

A SyncNet compares the last frames of every face with the sound of the same time and of shifted times. The confidence
of a face is its similarity in sync minus the median over the shifts, as in `judges.sync_score`: it is near 0 for a
still or foreign mouth, whatever the sound. Who speaks is the path through time with the largest sum of confidences,
less a cost for every change.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.sample_source import SampleSource
from latentsync.face.tracker import Track
from latentsync.judges.face_crops import FaceCrops
from latentsync.judges.sync_score import MAX_SHIFT

STRIDE = 3
"""Frames of the SyncNet from one scored window to the next; the shifts of the audio are multiples of it."""

NOBODY = -1

MIN_CONFIDENCE = 0.1
"""Smallest confidence, smoothed over a second, that must occur somewhere. Of three real videos with the demo SyncNet
and own sound, the 90th percentile is 0.12; with foreign sound it is 0.07."""

_SMOOTHING_S = 1.0

_MIN_SHIFTS = 4
"""Shifted windows that must lie within the audio."""

_CHANGE_S, _SILENCE_S = 0.24, 0.40
"""Cost of a change from one person to another, and to or from nobody, in seconds of a confident speaker."""

_NOBODY_SCORE = 0.2
"""What nobody scores, relative to a confident speaker: a person stays for 2 _SILENCE_S / 0.2 = 4 s of still lips."""

_ABSENT_SCORE = -0.1
"""What a person scores who is not visible: after a short gap the same person is followed."""


class StreamingSyncNet(Protocol):
    """Interface of a SyncNet that embeds windows one by one (`StableSyncScorer`, `SyncNetV2Windows`).

    Attributes:
        name: for reports.
        resolution: side of the crops in pixels.
        num_frames: frames per window.
        fps: frames per second of the crops.
    """

    name: str
    resolution: int
    num_frames: int
    fps: int

    def face_crops(self, track: Track, fps: float) -> FaceCrops:
        """Return the crops of a tracked face, of which the windows are made; fps is that of the source."""
        ...

    def embed_video(self, windows: Sequence[Tensor]) -> np.ndarray:
        """Embed windows (num_frames, 3, resolution, resolution) in [-1, 1] as (n, d) vectors of length 1."""
        ...

    def embed_audio(self, samples: SampleSource, starts: Sequence[int]) -> np.ndarray:
        """Embed the audio of windows that start at these frames as (n, d); NaN beyond the audio."""
        ...


@dataclass
class FaceScores:
    """Scores of one face over time.

    Attributes:
        starts: first frames, of the SyncNet's rate, of the scored windows.
        similarities: of the window and its own audio.
        confidences: that similarity minus the median over shifted audio.
    """

    starts: list[int] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)


class ActiveSpeakerScorer:
    """Score faces while a video is read; memory holds one window of each visible face.

    Args:
        network: the SyncNet.
        samples: sound of the video.
        batch_windows: windows of all faces that are embedded together.
    """

    def __init__(self, network: StreamingSyncNet, samples: SampleSource, batch_windows: int = 16) -> None:
        self._network, self._samples, self._batch_windows = network, samples, batch_windows
        self._crops: dict[int, deque[tuple[int, Tensor]]] = {}
        self._waiting: list[tuple[int, int, Tensor]] = []
        self._audio: dict[int, np.ndarray] = {}
        self.scores: dict[int, FaceScores] = {}

    def add(self, frame: int, crops: dict[int, Tensor]) -> None:
        """Add the crops (3, R, R) in [-1, 1] of the next frame, by number of the face."""
        for number in self._crops.keys() - crops.keys():
            del self._crops[number]
        for number, crop in crops.items():
            recent = self._crops.setdefault(number, deque(maxlen=self._network.num_frames))
            recent.append((frame, crop))
            start = frame - self._network.num_frames + 1
            if start % STRIDE == 0 and recent[0][0] == start and len(recent) == self._network.num_frames:
                self._waiting.append((number, start, torch.stack([each for _, each in recent])))
        if len(self._waiting) >= self._batch_windows:
            self.flush()

    def flush(self) -> None:
        """Score the windows that wait."""
        if not self._waiting:
            return
        self._embed_audio({start for _, start, _ in self._waiting})
        video = self._network.embed_video([window for _, _, window in self._waiting])
        for (number, start, _), vector in zip(self._waiting, video, strict=True):
            here, confidence = self._score(start, vector)
            if not np.isnan(confidence):
                scores = self.scores.setdefault(number, FaceScores())
                scores.starts.append(start)
                scores.similarities.append(here)
                scores.confidences.append(confidence)
        self._waiting = []

    def _score(self, start: int, video: np.ndarray) -> tuple[float, float]:
        """Return similarity and confidence of a window; NaN if the audio covers too little."""
        similarities = [
            float(video @ self._audio[start + shift]) if self._has_audio(start + shift) else np.nan for shift in _SHIFTS
        ]
        others = [value for shift, value in zip(_SHIFTS, similarities, strict=True) if shift and not np.isnan(value)]
        here = similarities[_SHIFTS.index(0)]
        return here, here - float(np.median(others)) if len(others) >= _MIN_SHIFTS else np.nan

    def _has_audio(self, start: int) -> bool:
        return not np.isnan(self._audio[start][0])

    def _embed_audio(self, starts: set[int]) -> None:
        """Embed the audio at all shifts of these windows, and forget what lies before."""
        needed = {start + shift for start in starts for shift in _SHIFTS}
        self._audio = {start: vector for start, vector in self._audio.items() if start >= min(needed)}
        missing = sorted(needed - self._audio.keys())
        if missing:
            self._audio.update(zip(missing, self._network.embed_audio(self._samples, missing), strict=True))


_SHIFTS = tuple(range(-MAX_SHIFT, MAX_SHIFT + 1, STRIDE))


def confident_level(confidences: np.ndarray, rate: float) -> float:
    """Return the largest confidence after smoothing over a second, 0 if there is none.

    Args:
        confidences: (people, n); NaN where unknown.
        rate: columns per second.
    """
    from scipy.ndimage import gaussian_filter1d  # slow to import

    known = np.nan_to_num(confidences)
    if known.size == 0:
        return 0.0
    return max(0.0, float(gaussian_filter1d(known, _SMOOTHING_S / 2 * rate, axis=1, mode="constant").max()))


def who_speaks(confidences: np.ndarray, visible: np.ndarray, rate: float) -> np.ndarray:
    """Return the index of the speaker at every time, or `NOBODY`.

    The path maximizes the sum of confidences, relative to the confident level, less the cost of its changes (Viterbi):
    a speaker keeps the floor in short pauses, short remarks of others do not count, and after a cut the same person
    remains the speaker if visible.

    Args:
        confidences: (people, n); NaN where unknown, as at both ends of a track.
        visible: (people, n) bool.
        rate: columns per second.
    """
    num_people, num_times = confidences.shape
    level = max(confident_level(confidences, rate), MIN_CONFIDENCE)
    scores = np.nan_to_num(confidences) / level / rate
    scores = np.where(visible, scores, _ABSENT_SCORE / rate)
    scores = np.vstack([scores, np.full(num_times, _NOBODY_SCORE / rate)])
    costs = np.full((num_people + 1, num_people + 1), _CHANGE_S)
    costs[-1], costs[:, -1] = _SILENCE_S, _SILENCE_S
    np.fill_diagonal(costs, 0.0)
    best, origin = scores[:, 0] if num_times else np.zeros(num_people + 1), np.zeros((num_times, num_people + 1), int)
    for time in range(1, num_times):
        reached = best[:, None] - costs
        origin[time] = reached.argmax(axis=0)
        best = reached.max(axis=0) + scores[:, time]
    path = np.empty(num_times, dtype=np.int32)
    state = int(np.argmax(best))
    for time in range(num_times - 1, -1, -1):
        path[time] = NOBODY if state == num_people else state
        state = int(origin[time, state])
    return path
