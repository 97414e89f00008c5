"""Conversations of two people: the turns, and each person's own voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from demo.synthetic.drawing import Floats
from demo.synthetic.speech import SAMPLE_RATE, Speech, Voice, random_phrase, speak, trim

Kind = Literal["turns", "overlap", "crossing", "cut", "still"]
"""What happens in a scene: alternate turns; the same with simultaneous speech, with people who swap sides, or with a
cut in the middle; one person who speaks alone."""

_TURN_S = (1.5, 4.0)
_PAUSE_S = (0.15, 0.5)
_OVERLAP_S = (0.8, 1.5)
_EDGE_S = 0.14
"""Silence at both ends of a turn. Mouth tracks are smoothed, so that a mouth moves up to 0.13 s beyond its speech."""


@dataclass(frozen=True)
class Turn:
    """Turn of person 0 or 1, in seconds."""

    person: int
    start_s: float
    stop_s: float


def random_turns(rng: np.random.Generator, kind: Kind, duration_s: float) -> list[Turn]:
    """Return random turns by start time. Both people speak, except in a scene of the kind "still".

    Turns take 1.5 to 4 s. In scenes of less than 9 s they are shorter where both would not fit.
    """
    shortest, longest = min(_TURN_S[0], 0.3 * duration_s), min(_TURN_S[1], 0.45 * duration_s)
    person = int(rng.integers(2))
    start = float(rng.uniform(0.2, 1.0)) * min(0.4, 0.05 * duration_s)
    turns: list[Turn] = []
    while duration_s - start >= shortest:
        length = min(float(rng.uniform(shortest, longest)), duration_s - start)
        turns.append(Turn(person, start, start + length))
        person = person if kind == "still" else 1 - person
        start += length + min(float(rng.uniform(*_PAUSE_S)), 0.1 * duration_s)
    return _with_overlap(rng, turns) if kind == "overlap" else turns


def _with_overlap(rng: np.random.Generator, turns: list[Turn]) -> list[Turn]:
    """Extend one turn beyond the beginning of the next."""
    chosen = int(rng.integers(len(turns) - 1))
    after = turns[chosen + 1]
    both_s = min(float(rng.uniform(*_OVERLAP_S)), 0.6 * (after.stop_s - after.start_s))
    return [*turns[:chosen], replace(turns[chosen], stop_s=after.start_s + both_s), *turns[chosen + 1 :]]


def overlaps(turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """Return the intervals (start, stop) in seconds in which both people have a turn."""
    pairs = [(a, b) for a in turns for b in turns if a.person == 0 and b.person == 1]
    shared = [(max(a.start_s, b.start_s), min(a.stop_s, b.stop_s)) for a, b in pairs]
    return sorted(interval for interval in shared if interval[0] < interval[1])


def has_turn(turns: Sequence[Turn], person: int, times_s: Floats) -> NDArray[np.bool_]:
    """Return (n,): True at the times (n,) at which a person has a turn."""
    result = np.zeros(len(times_s), dtype=bool)
    for turn in turns:
        if turn.person == person:
            result |= (times_s >= turn.start_s) & (times_s < turn.stop_s)
    return result


def random_voice(
    rng: np.random.Generator, turns: Sequence[Turn], person: int, duration_s: float, feminine: bool
) -> Speech:
    """Return random sentences of one voice in a person's turns, and silence elsewhere.

    The peak is below 0.48, so that two voices can be added without clipping.

    Raises:
        ToolError: espeak-ng is missing or fails.
    """
    voice, level = Voice.random(rng, feminine), float(rng.uniform(0.3, 0.48))
    samples, words = np.zeros(round(duration_s * SAMPLE_RATE), dtype=np.float32), []
    for turn in (turn for turn in turns if turn.person == person):
        first, last = (round(time * SAMPLE_RATE) for time in (turn.start_s + _EDGE_S, turn.stop_s - _EDGE_S))
        part, text = _sentences(rng, voice, max(0, min(last, len(samples)) - first))
        samples[first : first + len(part)] = level * part
        words.append(text)
    return Speech(samples, " ".join(words), voice)


def _sentences(rng: np.random.Generator, voice: Voice, num_samples: int) -> tuple[Floats, str]:
    """Return samples (num_samples,) with a peak of 1, and their text; the last sentence may be cut off."""
    pieces, words = [np.zeros(0, dtype=np.float32)], []
    while sum(map(len, pieces)) < num_samples:
        words.append(random_phrase(rng))
        pause = np.zeros(round(rng.uniform(0.1, 0.3) * SAMPLE_RATE), dtype=np.float32)
        pieces += [trim(speak(words[-1], voice)), pause]
    samples = np.concatenate(pieces)[:num_samples]
    fade = min(800, num_samples)
    samples[num_samples - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return samples / max(float(np.abs(samples).max(initial=0.0)), 1e-3), " ".join(words)
