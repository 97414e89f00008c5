"""From a person, a scene and a pose to pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from demo.synthetic.background import BACKGROUND_SIZE, paint_background
from demo.synthetic.body import paint_body
from demo.synthetic.drawing import Bytes, Floats, Layer, bump, ramp
from demo.synthetic.eyes import EYE_X, EyePainter
from demo.synthetic.hair import paint_hair
from demo.synthetic.head import paint_glasses, paint_head
from demo.synthetic.mouth import JAW_DROP, MouthPainter
from demo.synthetic.person import Person
from demo.synthetic.scene import Scene

BROW_ANCHOR = (0.09, -0.32)
NOSE_ANCHOR_LIFT = 0.03

_STRIDE = 4


def _upright() -> Floats:
    return np.array([[60.0, 0.0, 256.0], [0.0, 60.0, 220.0]], dtype=np.float32)


@dataclass(frozen=True)
class State:
    """One moment: mouth, eyes, and where head and body are.

    `head` and `body` are 2x3 matrices from face units to pixels of the full frame. `turn` moves the front of the
    face sideways and up or down (yaw, pitch) in face units; `opening`, `width` (0.5 neutral) and `blink` are in 0..1.
    """

    opening: float = 0.0
    width: float = 0.5
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    brow: float = 0.0
    head: Floats = field(default_factory=_upright)
    body: Floats = field(default_factory=_upright)


def anchors(person: Person, state: State) -> Floats:
    """The three alignment anchors (3, 2) in full frame pixels: left brow, right brow, nose."""
    out, up = BROW_ANCHOR
    eyes = _turned(np.array([[-EYE_X, 0.0], [EYE_X, 0.0]], dtype=np.float32), state.turn)
    nose = _turned(np.array([[0.0, person.nose_tip_y]], dtype=np.float32), state.turn)
    points = np.concatenate([eyes + np.array([[-out, up], [out, up]]), nose - np.array([[0.0, NOSE_ANCHOR_LIFT]])])
    return (points @ state.head[:, :2].T + state.head[:, 2]).astype(np.float32)


def _turned(points: Floats, turn: tuple[float, float]) -> Floats:
    """Where points (n, 2) of the unturned face are drawn when the head is turned."""
    moved = points
    for _ in range(8):
        moved = points + _depth(moved[:, 0], moved[:, 1])[:, None] * np.array(turn, dtype=np.float32)
    return moved.astype(np.float32)


def _depth(x: Floats, y: Floats) -> Floats:
    """How far the surface at x, y stands out, 1 at the middle of the face: its share of a turn's shift."""
    return 0.8 * bump(x, y, (0.0, 0.45), (0.78, 1.0)) + 0.5 * bump(x, y, (0.0, 0.55), (0.2, 0.28))


class Renderer:
    """Paints the unchanging layers of one person in one scene, then renders frames of them.

    `density` is the paint's resolution in pixels per face unit; about that of the picture times the supersampling.
    """

    def __init__(self, person: Person, scene: Scene, density: float = 100.0) -> None:
        self.person, self.scene = person, scene
        self._background = paint_background(scene)
        self._body = paint_body(person, scene, density * 0.7)
        painted = paint_head(person, scene, density)
        self._head = painted.layer
        self._back_hair, self._front_hair = paint_hair(person, scene, density)
        self._glasses = paint_glasses(person, density)
        self._mouth = MouthPainter(person, painted, density * 1.1)
        self._eyes = [EyePainter(person, scene, painted, density * 1.1, sign) for sign in (-1.0, 1.0)]
        self._grade = _grade_table(scene)

    def render(
        self, state: State, camera: Floats, size: tuple[int, int], frame_size: tuple[int, int] = (512, 512),
        supersample: float = 2.0,
    ) -> Bytes:  # fmt: skip
        """RGB picture (h, w, 3) of `size` (w, h); `camera` (2x3) maps full frame pixels to the picture's pixels.

        Whole numbers are pixel centres in both. The background fills a full frame of `frame_size` (w, h).
        """
        camera = _supersampled(camera, supersample)
        width, height = round(size[0] * supersample), round(size[1] * supersample)
        picture = self._backdrop(camera, (width, height), frame_size)
        head, body = _chain(camera, state.head), _chain(camera, state.body)
        turn = state.turn
        if self._back_hair is not None:
            _put(picture, self._back_hair, head, (turn[0] * 0.1, 0.0), None)
        _put(picture, self._body, body, (0.0, 0.0), None)
        _put(picture, self._head, head, turn, self._soft_parts(state))
        _put(picture, self._mouth.paint(state.opening, state.width), head, turn, None)
        for eye in self._eyes:
            _put(picture, eye.paint(state.blink, state.gaze), head, turn, None)
        if self._glasses is not None:
            _put(picture, self._glasses, head, turn, None)
        if self._front_hair is not None:
            _put(picture, self._front_hair, head, turn, None)
        if supersample > 1:
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return self._graded(picture)

    def _backdrop(self, camera: Floats, size: tuple[int, int], frame_size: tuple[int, int]) -> Bytes:
        scale = np.array([frame_size[0] / BACKGROUND_SIZE, frame_size[1] / BACKGROUND_SIZE], dtype=np.float32)
        stretch = np.array([[scale[0], 0, 0.5 * scale[0] - 0.5], [0, scale[1], 0.5 * scale[1] - 0.5]], dtype=np.float32)
        matrix = _chain(camera, stretch)
        return np.asarray(
            cv2.warpAffine(self._background, matrix, size, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
        )

    def _soft_parts(self, state: State) -> tuple[float, float, float]:
        return state.opening * JAW_DROP, self.person.mouth_y, state.brow

    def _graded(self, picture: Bytes) -> Bytes:
        if abs(self.scene.saturation - 1.0) > 0.01:
            grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            amount = self.scene.saturation
            picture = np.asarray(cv2.addWeighted(picture, amount, grey, 1.0 - amount, 0.0), dtype=np.uint8)
        return np.asarray(cv2.LUT(picture, self._grade), dtype=np.uint8)


def render(person: Person, scene: Scene, state: State, camera: Floats, size: tuple[int, int]) -> Bytes:
    """One picture; use `Renderer` for more than one of the same person."""
    return Renderer(person, scene).render(state, camera, size)


def _grade_table(scene: Scene) -> Bytes:
    level = np.linspace(0.0, 1.0, 256)[:, None]
    table = np.clip(level**scene.gamma * np.array(scene.gain), 0.0, 1.0) * 255.0
    return np.round(table).astype(np.uint8)[:, None, :]


def _supersampled(camera: Floats, factor: float) -> Floats:
    matrix = camera.astype(np.float32) * factor
    matrix[:, 2] += 0.5 * factor - 0.5
    return matrix


def _chain(outer: Floats, inner: Floats) -> Floats:
    """The 2x3 matrix that applies `inner`, then `outer`."""
    full = np.vstack([inner, [0.0, 0.0, 1.0]])
    return (outer @ full).astype(np.float32)


def _put(
    picture: Bytes, layer: Layer, matrix: Floats, turn: tuple[float, float], soft: tuple[float, float, float] | None
) -> None:
    """Draw `layer` onto `picture` in place; `soft` is (jaw drop, mouth y, brow lift) for the skin."""
    canvas = layer.canvas
    corners = np.array([[canvas.x0, canvas.y0], [canvas.x1, canvas.y0], [canvas.x0, canvas.y1], [canvas.x1, canvas.y1]])
    reach = corners + np.array([[-0.15, -0.15], [0.15, -0.15], [-0.15, 0.15], [0.15, 0.15]])
    pixels = reach @ matrix[:, :2].T + matrix[:, 2]
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, [picture.shape[1], picture.shape[0]])
    if (low >= high).any():
        return
    back = np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float32)
    columns = np.arange(low[0], high[0], dtype=np.float32)[None, :]
    rows = np.arange(low[1], high[1], dtype=np.float32)[:, None]
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    x, y = _unturn(x, y, turn)
    if soft is not None:
        y = _unstretch(x, y, *soft)
    top = layer.sample(x, y)
    window = picture[low[1] : high[1], low[0] : high[0]]
    rest = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(top, 3)), cv2.COLOR_GRAY2RGB)
    window[:] = cv2.add(cv2.multiply(window, rest, scale=1.0 / 255.0), cv2.cvtColor(top, cv2.COLOR_RGBA2RGB))


def _unturn(x: Floats, y: Floats, turn: tuple[float, float]) -> tuple[Floats, Floats]:
    if turn == (0.0, 0.0):
        return x, y
    depth = _smooth_field(_depth, x, y)
    return x - np.float32(turn[0]) * depth, y - np.float32(turn[1]) * depth


def _unstretch(x: Floats, y: Floats, jaw_drop: float, mouth_y: float, brow: float) -> Floats:
    """Rows of the resting skin that show at x, y when the jaw is down by `jaw_drop` and the brows up by `brow`."""
    if jaw_drop > 0.0:
        y = y - np.float32(jaw_drop) * _smooth_field(lambda u, v: _jaw_share(u, v, mouth_y), x, y)
    if brow != 0.0:
        y = y + np.float32(brow) * _smooth_field(lambda u, v: bump(u, v, (0.0, -0.38), (0.7, 0.14)), x, y)
    return y


def _jaw_share(x: Floats, y: Floats, mouth_y: float) -> Floats:
    """How much of the jaw's drop the skin at x, y follows."""
    return ramp(y, mouth_y - 0.22, mouth_y + 0.42) * (1.0 - 0.55 * ramp(np.abs(x), 0.35, 1.15))


def _smooth_field(field_at: Callable[[Floats, Floats], Floats], x: Floats, y: Floats) -> Floats:
    """A smooth function on a grid, computed on every `_STRIDE`-th pixel and interpolated."""
    rows, columns = x.shape
    coarse = field_at(x[::_STRIDE, ::_STRIDE], y[::_STRIDE, ::_STRIDE])
    stretch = np.array([[_STRIDE, 0.0, 0.0], [0.0, _STRIDE, 0.0]], dtype=np.float32)
    field = cv2.warpAffine(coarse, stretch, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field, dtype=np.float32)
