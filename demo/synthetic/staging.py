"""Where two people are in every frame of a scene, and how they move: places, walks, cuts, nods and smiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demo.synthetic.clip import FPS, Framing, random_states
from demo.synthetic.conversation import Kind
from demo.synthetic.drawing import Floats
from demo.synthetic.renderer import State

_EYE_DISTANCE = (0.108, 0.124)
"""Eye distance as a share of the frame's height; a face is about 2.2 times as wide."""
_CLOSER = (1.16, 1.28)
"""Zoom of the second shot of a scene with a cut."""
_LEFT_X = (0.25, 0.28)
_Y = (0.40, 0.43)
_CROSSING_S = 2.4
_TOWARDS = 0.07
"""Shift of the front of a face that is turned to the other person, in face units."""
_SMILE_MARGIN_S = 0.5
"""Shortest time between a smile and the person's own turn; its fade takes 0.48 s."""


@dataclass(frozen=True)
class Staging:
    """Motion of two people in f frames.

    Attributes:
        states: of each person in each frame, with a closed mouth of neutral width.
        smiles: (2, f) addition to the width of the mouth.
        front: the person in front.
        shots: (f,) number of the shot.
        crossing: first and last frame (exclusive) in which people walk past each other, or None.
    """

    states: list[list[State]]
    smiles: Floats
    front: int
    shots: NDArray[np.int64]
    crossing: tuple[int, int] | None


def random_staging(
    rng: np.random.Generator, kind: Kind, size: tuple[int, int], listens: NDArray[np.bool_]
) -> Staging:  # fmt: skip
    """Return random motion of a scene.

    Args:
        rng: source of the random choices.
        kind: what happens; person 0 is on the left in the first frame.
        size: (w, h) of the frame in pixels.
        listens: (2, f), True in frames in which a person has no turn.
    """
    count = listens.shape[1]
    shots = np.zeros(count, dtype=np.int64)
    places = _places(rng, size)
    states = [_still(rng, place, count) for place in places]
    if kind == "cut":
        shots[count // 2 :] = 1
        closer = _places(rng, size, float(rng.uniform(*_CLOSER)))[::-1]
        second = [_still(rng, place, count) for place in closer]
        states = [[*a[: count // 2], *b[count // 2 :]] for a, b in zip(states, second, strict=True)]
    front, crossing = int(rng.integers(2)), None
    if kind == "crossing":
        length = round(min(_CROSSING_S * FPS, 0.5 * count))
        crossing = ((count - length) // 2, (count + length) // 2)
        states = [_walked(states[k], places[k], places[1 - k], crossing, front == k) for k in range(2)]
    else:
        states = [_facing(states[k], states[1 - k]) for k in range(2)]
    nods = [_nods(rng, row) for row in listens]
    states = [[_nodded(state, float(nod)) for state, nod in zip(states[k], nods[k], strict=True)] for k in range(2)]
    return Staging(states, np.stack([_smiles(rng, row) for row in listens]), front, shots, crossing)


def _places(rng: np.random.Generator, size: tuple[int, int], zoom: float = 1.0) -> list[Framing]:
    """Return a place on the left and one on the right of a frame."""
    width, height = size
    return [
        Framing(
            eye_distance=float(rng.uniform(*_EYE_DISTANCE)) * height * zoom,
            x=(share if side == 0 else 1.0 - share) * width,
            y=float(rng.uniform(*_Y)) * height,
            tilt=float(rng.normal(0.0, 0.04)),
        )
        for side, share in enumerate(rng.uniform(*_LEFT_X, size=2))
    ]


def _still(rng: np.random.Generator, place: Framing, count: int) -> list[State]:
    """Return states (f) of a person at one place, with a closed mouth."""
    track = np.tile(np.array([[0.0, 0.5]], dtype=np.float32), (count, 1))
    return random_states(rng, track, place, liveliness=0.9)


def _facing(states: list[State], others: list[State]) -> list[State]:
    """Turn heads and eyes slightly to the other person."""
    signs = [float(np.sign(o.head[0, 2] - s.head[0, 2])) for s, o in zip(states, others, strict=True)]
    return [_turned(state, sign * _TOWARDS) for state, sign in zip(states, signs, strict=True)]


def _turned(state: State, shift: float) -> State:
    turn, gaze = state.turn, state.gaze
    return replace(state, turn=(turn[0] + shift, turn[1]), gaze=(gaze[0] + 0.3 * shift, gaze[1]))


def _walked(
    states: list[State], start: Framing, stop: Framing, crossing: tuple[int, int], is_front: bool
) -> list[State]:
    """Move a person from one place to another; the one in front is closer and therefore larger."""
    first, last = crossing
    time = np.clip((np.arange(len(states)) - first) / (last - first), 0.0, 1.0)
    path = time * time * (3.0 - 2.0 * time)
    side = float(np.sign(stop.x - start.x))
    result = []
    for state, share, phase in zip(states, path, time, strict=True):
        middle = float(np.sin(np.pi * share))
        grown = (stop.eye_distance / start.eye_distance) ** share * (1.0 + (0.12 if is_front else -0.06) * middle)
        step = 0.06 * start.eye_distance * abs(np.sin(4.0 * np.pi * phase)) * middle
        shift = np.array([share * (stop.x - start.x), share * (stop.y - start.y) - step])
        moved = replace(
            state, head=_moved(state.head, start, grown, shift), body=_moved(state.body, start, grown, shift)
        )
        result.append(_turned(moved, side * (_TOWARDS * (1.0 - 2.0 * share) + 0.18 * middle)))
    return result


def _moved(matrix: Floats, place: Framing, scale: float, shift: np.ndarray) -> Floats:
    """Scale a pose about its place, then shift it by (x, y) pixels."""
    centre = np.array([place.x, place.y])
    offset = scale * (matrix[:, 2] - centre) + centre + shift
    return np.column_stack([scale * matrix[:, :2], offset]).astype(np.float32)


def _nodded(state: State, nod: float) -> State:
    """Lower the front of the face and the head by a nod of up to 1."""
    scale = float(np.linalg.norm(state.head[:, 0]))
    head = state.head.copy()
    head[1, 2] += 0.05 * nod * scale
    return replace(state, head=head, turn=(state.turn[0], state.turn[1] + 0.06 * nod))


def _nods(rng: np.random.Generator, listens: NDArray[np.bool_]) -> Floats:
    """Return (f,) in [-1, 1]: a double nod in about half of the intervals in which a person listens."""
    result = np.zeros(len(listens), dtype=np.float32)
    length = round(0.9 * FPS)
    time = np.arange(length) / length
    shape = np.sin(4.0 * np.pi * time) * np.sin(np.pi * time) ** 2
    for first, last in _intervals(listens):
        wanted, start = rng.random() < 0.6, int(rng.integers(first, max(first + 1, last - length)))
        if wanted and start + length <= last:
            result[start : start + length] = shape
    return result


def _smiles(rng: np.random.Generator, listens: NDArray[np.bool_]) -> Floats:
    """Return (f,): widths of smiles in about two of three intervals in which a person listens; 0 in own turns."""
    result, margin = np.zeros(len(listens), dtype=np.float32), round(_SMILE_MARGIN_S * FPS)
    for first, last in _intervals(listens):
        wanted, amount, length = rng.random() < 0.65, rng.uniform(0.2, 0.4), int(rng.integers(12, 40))
        earliest = first + margin if first else 0
        latest = last - margin if last < len(listens) else last
        if wanted and latest - earliest >= 8:
            start = int(rng.integers(earliest, max(earliest + 1, latest - length)))
            result[start : min(start + length, latest)] = amount
    return gaussian_filter1d(result, 0.12 * FPS, mode="nearest").astype(np.float32)


def _intervals(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the intervals (first, last exclusive) of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
