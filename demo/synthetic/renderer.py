"""Render people in a scene and a state to pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from demo.synthetic.body import draw_body, draw_hair
from demo.synthetic.drawing import Bytes, Floats, Layer, bump, ramp
from demo.synthetic.face_parts import EYE_X, JAW_DROP, EyeRenderer, MouthRenderer
from demo.synthetic.head import draw_glasses, draw_head
from demo.synthetic.head_rotation import rotated, unrotated
from demo.synthetic.person import Person
from demo.synthetic.scene import BACKGROUND_SIZE, Scene, draw_background

BROW_ANCHOR = (0.09, -0.32)
NOSE_ANCHOR_LIFT = 0.03

_STRIDE = 4
"""Smooth displacement fields are computed on every fourth pixel and interpolated."""


def _upright() -> Floats:
    return np.array([[60.0, 0.0, 256.0], [0.0, 60.0, 220.0]], dtype=np.float32)


@dataclass(frozen=True)
class State:
    """State of a person in one frame.

    Attributes:
        opening, width: of the mouth, in [0, 1]; a width of 0.5 is neutral.
        blink: 0 (open eyes) to 1 (closed).
        gaze: direction (x, y) in face units.
        turn: horizontal and vertical shift of the front of the face in face units, as of a small yaw and pitch.
        yaw_degrees: rotation about the vertical axis, positive to the right of the image (`head_rotation`).
        brow: lift of the brows in face units.
        head, body: 2x3 matrices from face units to pixels of the full frame.
    """

    opening: float = 0.0
    width: float = 0.5
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    yaw_degrees: float = 0.0
    brow: float = 0.0
    head: Floats = field(default_factory=_upright)
    body: Floats = field(default_factory=_upright)


def anchors(person: Person, state: State) -> Floats:
    """Return the alignment anchors (3, 2) in pixels of the full frame: left brow, right brow, nose."""
    out, up = BROW_ANCHOR
    eyes = _turned(np.array([[-EYE_X, 0.0], [EYE_X, 0.0]], dtype=np.float32), state.turn)
    nose = _turned(np.array([[0.0, person.nose_tip_y]], dtype=np.float32), state.turn)
    points = np.concatenate([eyes + np.array([[-out, up], [out, up]]), nose - np.array([[0.0, NOSE_ANCHOR_LIFT]])])
    points = rotated(points, state.yaw_degrees)
    return (points @ state.head[:, :2].T + state.head[:, 2]).astype(np.float32)


def _turned(points: Floats, turn: tuple[float, float]) -> Floats:
    """Return the positions of points (n, 2) of the frontal face after a turn of the head."""
    moved = points
    for _ in range(8):
        moved = points + _depth(moved[:, 0], moved[:, 1])[:, None] * np.array(turn, dtype=np.float32)
    return moved.astype(np.float32)


def _depth(x: Floats, y: Floats) -> Floats:
    """Return the relative depth at x, y (1 at the middle of the face): the share of a turn's shift that applies."""
    return 0.8 * bump(x, y, (0.0, 0.45), (0.78, 1.0)) + 0.5 * bump(x, y, (0.0, 0.55), (0.2, 0.28))


class Renderer:
    """Renders frames of one person in one scene; the static layers are drawn once.

    Args:
        person, scene: what is rendered.
        density: resolution of the layers in pixels per face unit, about that of the image times the supersampling.
    """

    def __init__(self, person: Person, scene: Scene, density: float = 100.0) -> None:
        self.person, self.scene = person, scene
        self._backdrop = Backdrop(scene)
        self._body = draw_body(person, scene, density * 0.7)
        drawn = draw_head(person, scene, density)
        self._head = drawn.layer
        self._back_hair, self._front_hair = draw_hair(person, scene, density)
        self._glasses = draw_glasses(person, density)
        self._mouth = MouthRenderer(person, drawn, density * 1.1)
        self._eyes = [EyeRenderer(person, scene, drawn, density * 1.1, sign) for sign in (-1.0, 1.0)]

    def render(
        self, state: State, camera: Floats, size: tuple[int, int], frame_size: tuple[int, int] = (512, 512),
        supersample: float = 2.0,
    ) -> Bytes:  # fmt: skip
        """Render one frame.

        Args:
            state: mouth, eyes and pose.
            camera: (2, 3) from pixels of the full frame to pixels of the image; pixel centres are whole numbers.
            size: (w, h) of the image.
            frame_size: (w, h) of the full frame, which the background fills.
            supersample: factor of the resolution at which the image is rendered before it is reduced.

        Returns:
            RGB uint8 (h, w, 3).
        """
        return self._backdrop.render([(self, state)], camera, size, frame_size, supersample)

    def draw(self, image: Bytes, state: State, camera: Floats) -> None:
        """Draw the person onto an image (h, w, 3) in place, without the scene's background and colour grade."""
        head, body = _chain(camera, state.head), _chain(camera, state.body)
        pose = _Pose(head, state.turn, state.yaw_degrees)
        if self._back_hair is not None:
            _put(image, self._back_hair, _Pose(head, (state.turn[0] * 0.1, 0.0)), None)
        _put(image, self._body, _Pose(body), None)
        _put(image, self._head, pose, self._soft_parts(state))
        _put(image, self._mouth.draw(state.opening, state.width), pose, None)
        for eye in self._eyes:
            _put(image, eye.draw(state.blink, state.gaze), pose, None)
        if self._glasses is not None:
            _put(image, self._glasses, pose, None)
        if self._front_hair is not None:
            _put(image, self._front_hair, pose, None)

    def _soft_parts(self, state: State) -> tuple[float, float, float]:
        return state.opening * JAW_DROP, self.person.mouth_y, state.brow


class Backdrop:
    """Background and colour grade of a scene, before which any number of people are rendered.

    Args:
        scene: what is drawn.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._background = draw_background(scene)
        self._grade = _grade_table(scene)

    def render(
        self, people: Sequence[tuple[Renderer, State]], camera: Floats, size: tuple[int, int],
        frame_size: tuple[int, int] = (512, 512), supersample: float = 2.0,
    ) -> Bytes:  # fmt: skip
        """Render one frame of several people; each is in front of those before.

        Args:
            people: renderers of people in this scene's light, and their states.
            camera, size, frame_size, supersample: as for `Renderer.render`.

        Returns:
            RGB uint8 (h, w, 3).
        """
        camera = _supersampled(camera, supersample)
        width, height = round(size[0] * supersample), round(size[1] * supersample)
        image = self._stretched(camera, (width, height), frame_size)
        for renderer, state in people:
            renderer.draw(image, state, camera)
        if supersample > 1:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return self.graded(image)

    def graded(self, image: Bytes) -> Bytes:
        """Return an RGB image (h, w, 3) with the scene's saturation, gamma and gain."""
        if abs(self.scene.saturation - 1.0) > 0.01:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            amount = self.scene.saturation
            image = np.asarray(cv2.addWeighted(image, amount, grey, 1.0 - amount, 0.0), dtype=np.uint8)
        return np.asarray(cv2.LUT(image, self._grade), dtype=np.uint8)

    def _stretched(self, camera: Floats, size: tuple[int, int], frame_size: tuple[int, int]) -> Bytes:
        scale = np.array([frame_size[0] / BACKGROUND_SIZE, frame_size[1] / BACKGROUND_SIZE], dtype=np.float32)
        stretch = np.array([[scale[0], 0, 0.5 * scale[0] - 0.5], [0, scale[1], 0.5 * scale[1] - 0.5]], dtype=np.float32)
        matrix = _chain(camera, stretch)
        return np.asarray(
            cv2.warpAffine(self._background, matrix, size, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
        )


def _grade_table(scene: Scene) -> Bytes:
    level = np.linspace(0.0, 1.0, 256)[:, None]
    table = np.clip(level**scene.gamma * np.array(scene.gain), 0.0, 1.0) * 255.0
    return np.round(table).astype(np.uint8)[:, None, :]


def _supersampled(camera: Floats, factor: float) -> Floats:
    matrix = camera.astype(np.float32) * factor
    matrix[:, 2] += 0.5 * factor - 0.5
    return matrix


def _chain(outer: Floats, inner: Floats) -> Floats:
    """Return the 2x3 matrix that applies `inner`, then `outer`."""
    full = np.vstack([inner, [0.0, 0.0, 1.0]])
    return (outer @ full).astype(np.float32)


@dataclass(frozen=True)
class _Pose:
    """Place of a layer: its matrix from face units to pixels, and the turns of the head, see `State`."""

    matrix: Floats
    turn: tuple[float, float] = (0.0, 0.0)
    yaw_degrees: float = 0.0


def _put(image: Bytes, layer: Layer, pose: _Pose, soft: tuple[float, float, float] | None) -> None:
    """Draw `layer` onto `image` in place; `soft` is (jaw drop, mouth y, brow lift) for the skin."""
    canvas, matrix = layer.canvas, pose.matrix
    corners = np.array([[canvas.x0, canvas.y0], [canvas.x1, canvas.y0], [canvas.x0, canvas.y1], [canvas.x1, canvas.y1]])
    wide = 0.15 + 1.2 * abs(np.sin(np.radians(pose.yaw_degrees)))
    reach = corners + np.array([[-wide, -0.15], [wide, -0.15], [-wide, 0.15], [wide, 0.15]])
    pixels = reach @ matrix[:, :2].T + matrix[:, 2]
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, [image.shape[1], image.shape[0]])
    if (low >= high).any():
        return
    back = np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float32)
    columns = np.arange(low[0], high[0], dtype=np.float32)[None, :]
    rows = np.arange(low[1], high[1], dtype=np.float32)[:, None]
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    if pose.yaw_degrees != 0.0:
        x = x + _smooth_field(lambda u, v: unrotated(u, v, pose.yaw_degrees) - u, x, y)
    x, y = _unturn(x, y, pose.turn)
    if soft is not None:
        y = _unstretch(x, y, *soft)
    top = layer.sample(x, y)
    window = image[low[1] : high[1], low[0] : high[0]]
    rest = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(top, 3)), cv2.COLOR_GRAY2RGB)
    window[:] = cv2.add(cv2.multiply(window, rest, scale=1.0 / 255.0), cv2.cvtColor(top, cv2.COLOR_RGBA2RGB))


def _unturn(x: Floats, y: Floats, turn: tuple[float, float]) -> tuple[Floats, Floats]:
    if turn == (0.0, 0.0):
        return x, y
    depth = _smooth_field(_depth, x, y)
    return x - np.float32(turn[0]) * depth, y - np.float32(turn[1]) * depth


def _unstretch(x: Floats, y: Floats, jaw_drop: float, mouth_y: float, brow: float) -> Floats:
    """Return the rows of the resting skin at x, y after the jaw dropped by `jaw_drop` and the brows rose by `brow`."""
    if jaw_drop > 0.0:
        y = y - np.float32(jaw_drop) * _smooth_field(lambda u, v: _jaw_share(u, v, mouth_y), x, y)
    if brow != 0.0:
        y = y + np.float32(brow) * _smooth_field(lambda u, v: bump(u, v, (0.0, -0.38), (0.7, 0.14)), x, y)
    return y


def _jaw_share(x: Floats, y: Floats, mouth_y: float) -> Floats:
    """Return the share of the jaw's drop that applies to the skin at x, y."""
    return ramp(y, mouth_y - 0.22, mouth_y + 0.42) * (1.0 - 0.55 * ramp(np.abs(x), 0.35, 1.15))


def _smooth_field(field_at: Callable[[Floats, Floats], Floats], x: Floats, y: Floats) -> Floats:
    """Evaluate a smooth function on every `_STRIDE`-th pixel and interpolate."""
    rows, columns = x.shape
    coarse = field_at(x[::_STRIDE, ::_STRIDE], y[::_STRIDE, ::_STRIDE])
    stretch = np.array([[_STRIDE, 0.0, 0.0], [0.0, _STRIDE, 0.0]], dtype=np.float32)
    field = cv2.warpAffine(coarse, stretch, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field, dtype=np.float32)
