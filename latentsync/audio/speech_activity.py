"""Where audio contains speech: intervals found by Silero VAD, in bounded memory for audio of any length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.audio.sample_source import SAMPLE_RATE, SampleSource
from latentsync.audio.silero_network import CONTEXT_SAMPLES, WINDOW_SAMPLES, SileroNetwork, State, load_silero_network

SPEECH_PROBABILITY = 0.5
"""Speech starts at a window of at least this probability."""
SILENCE_PROBABILITY = 0.35
"""Speech ends before windows below this probability that last `MIN_SILENCE_S`."""
MIN_SPEECH_S = 0.2
"""Shorter speech is ignored: clicks and breath."""
MIN_SILENCE_S = 0.1
HANGOVER_S = 0.12
"""Added at both ends of speech, since lips open before a sound and close after it."""

_BLOCK_WINDOWS = 1024
"""Windows per forward pass: 33 s, about 15 MB."""


@dataclass(frozen=True)
class SpeechInterval:
    """Samples ``start <= i < stop`` with speech, at 16 kHz."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def find_speech(samples: SampleSource, network: SileroNetwork | None = None) -> list[SpeechInterval]:
    """Find the speech in audio, with a hangover at both ends.

    Args:
        samples: the audio; it is read once, block by block.
        network: from `load_silero_network`; None loads it.

    Returns:
        Intervals in order, without overlap; empty if there is no speech.

    Raises:
        CheckpointError: the package with the weights is missing.
    """
    probabilities = speech_probabilities(samples, network or load_silero_network())
    return with_hangover(speech_runs(probabilities), samples.num_samples)


@torch.inference_mode()
def speech_probabilities(samples: SampleSource, network: SileroNetwork) -> NDArray[np.float32]:
    """Return the probability of speech (ceil(num_samples / 512),) of every window of 32 ms."""
    num_windows = -(-samples.num_samples // WINDOW_SAMPLES)
    state: State | None = None
    parts = [np.zeros(0, dtype=np.float32)]
    for first in range(0, num_windows, _BLOCK_WINDOWS):
        last = min(first + _BLOCK_WINDOWS, num_windows)
        block = samples.read(first * WINDOW_SAMPLES - CONTEXT_SAMPLES, last * WINDOW_SAMPLES)
        windows = torch.from_numpy(block).unfold(0, CONTEXT_SAMPLES + WINDOW_SAMPLES, WINDOW_SAMPLES)
        probabilities, state = network(windows, state)
        parts.append(probabilities.numpy())
    return np.concatenate(parts)


def speech_runs(probabilities: Iterable[float]) -> Iterator[SpeechInterval]:
    """Yield speech of at least `MIN_SPEECH_S`, by two thresholds, from the probabilities of successive windows."""
    start: int | None = None
    stop = position = 0  # `stop` is the end of the last window that was not silent
    for position, probability in enumerate(probabilities):
        if start is None:
            if probability < SPEECH_PROBABILITY:
                continue
            start = position
        if probability >= SILENCE_PROBABILITY:
            stop = position + 1
        elif _seconds(position + 1 - stop) >= MIN_SILENCE_S:
            yield from _long_enough(start, stop)
            start = None
    if start is not None:
        yield from _long_enough(start, stop)


def with_hangover(speech: Iterable[SpeechInterval], num_samples: int) -> list[SpeechInterval]:
    """Extend intervals by `HANGOVER_S` at both ends, within the audio, and join those that meet."""
    margin = round(HANGOVER_S * SAMPLE_RATE)
    joined: list[SpeechInterval] = []
    for interval in speech:
        start, stop = max(interval.start - margin, 0), min(interval.stop + margin, num_samples)
        if joined and start <= joined[-1].stop:
            start = joined.pop().start
        joined.append(SpeechInterval(start, stop))
    return joined


def speech_seconds(speech: Sequence[SpeechInterval]) -> float:
    """Return the summed length of intervals in seconds."""
    return sum(map(len, speech)) / SAMPLE_RATE


def _seconds(num_windows: int) -> float:
    return num_windows * WINDOW_SAMPLES / SAMPLE_RATE


def _long_enough(start: int, stop: int) -> Iterator[SpeechInterval]:
    if _seconds(stop - start) >= MIN_SPEECH_S:
        yield SpeechInterval(start * WINDOW_SAMPLES, stop * WINDOW_SAMPLES)
