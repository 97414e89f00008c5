"""How a head moves while it speaks: pose, blinks and gaze over the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from demo.synthetic.drawing import Floats
from demo.synthetic.renderer import State

FPS = 25


@dataclass(frozen=True)
class Framing:
    """Where a head rests in a frame: eye distance in pixels, the point between the eyes (x, y), tilt in radians."""

    eye_distance: float
    x: float
    y: float
    tilt: float


def smooth_walk(rng: np.random.Generator, num_frames: int, sigma_s: float) -> Floats:
    """Smooth noise (n,) with mean near 0 and deviation near 1, slower for larger `sigma_s`."""
    sigma = sigma_s * FPS
    pad = int(4 * sigma) + 1
    noise = gaussian_filter1d(rng.standard_normal(num_frames + 2 * pad), sigma)[pad:-pad]
    return (noise * np.sqrt(2.0 * sigma * np.sqrt(np.pi))).astype(np.float32)


def states(rng: np.random.Generator, track: Floats, framing: Framing, liveliness: float = 1.0) -> list[State]:
    """One State for each row (opening, width) of `track` (n, 2)."""
    count = len(track)
    sway = [smooth_walk(rng, count, s) * liveliness for s in (0.7, 0.6, 0.9, 0.6, 0.5, 0.8, 0.3)]
    rest_turn = rng.normal(0.0, (0.05, 0.02))
    blinks, gazes = _blinks(rng, count), _gazes(rng, count)
    result = []
    for i in range(count):
        scale = framing.eye_distance * (1.0 + 0.015 * float(sway[2][i]))
        shift = np.array([0.05 * sway[0][i], 0.035 * sway[1][i]]) * framing.eye_distance
        place = np.array([framing.x, framing.y]) + shift
        rest = np.array([framing.x, framing.y]) + 0.35 * shift
        result.append(State(
            opening=float(track[i, 0]), width=float(track[i, 1]), blink=float(blinks[i]),
            gaze=(float(gazes[i, 0]), float(gazes[i, 1])),
            turn=(float(rest_turn[0] + 0.05 * sway[3][i]), float(rest_turn[1] + 0.025 * sway[4][i])),
            brow=float(np.clip(0.02 * sway[6][i], -0.03, 0.06)),
            head=_pose(scale, framing.tilt + 0.035 * float(sway[5][i]), place),
            body=_pose(framing.eye_distance, 0.3 * framing.tilt, rest),
        ))  # fmt: skip
    return result


def _pose(scale: float, angle: float, place: np.ndarray) -> Floats:
    """Face units to pixels: the head turns about the neck, 1.6 units below the eyes."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pivot = np.array([0.0, 1.6])
    offset = place + scale * pivot - turn @ pivot
    return np.column_stack([turn, offset]).astype(np.float32)


def _blinks(rng: np.random.Generator, count: int) -> Floats:
    closed = np.zeros(count, dtype=np.float32)
    shape = np.array([0.35, 0.9, 1.0, 0.7, 0.3], dtype=np.float32)
    position = int(rng.integers(5, 90))
    while position < count:
        part = shape[: count - position]
        closed[position : position + len(part)] = part
        position += int(rng.integers(40, 130))
    return np.maximum(closed, np.float32(max(0.0, rng.normal(0.0, 0.08))))


def _gazes(rng: np.random.Generator, count: int) -> Floats:
    gaze = np.zeros((count, 2), dtype=np.float32)
    position = 0
    while position < count:
        length = int(rng.integers(12, 70))
        gaze[position : position + length] = rng.normal(0.0, (0.022, 0.010))
        position += length
    return gaze
