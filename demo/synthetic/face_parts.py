"""Moving parts of a face, drawn for every frame: eyes from blink and gaze, the mouth from opening and width."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from demo.synthetic.drawing import Canvas, Floats, Layer, bump, mix, ramp
from demo.synthetic.head import HeadDrawing
from demo.synthetic.person import Person
from demo.synthetic.relief import skin_under_light
from demo.synthetic.scene import Scene

EYE_X = 0.5
_IRIS_RADIUS = 0.098


class EyeRenderer:
    """Draws one eye.

    Args:
        person, scene: colours, shapes and light.
        head: the drawn head, for the colours around the eye.
        density: pixels per face unit.
        sign: -1 for the eye on the left of the image, 1 for the right one.
    """

    def __init__(self, person: Person, scene: Scene, head: HeadDrawing, density: float, sign: float) -> None:
        self._person, self._scene, self._sign = person, scene, sign
        self.canvas = Canvas(sign * EYE_X - 0.31, -0.19, sign * EYE_X + 0.31, 0.15, density)
        x, y = self.canvas.grid()
        self._x, self._y = (x - sign * EYE_X).astype(np.float32), y
        maps = head.layer.canvas.to_pixels(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(*x.shape, 2)
        around = (
            cv2.remap(head.layer.image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)[..., :3].astype(np.float32) / 255
        )
        lit = cv2.remap(head.light, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
        self._light = (0.4 * lit + 0.75 * lit.mean(axis=(0, 1))).astype(np.float32)
        self._skin = (0.5 * around + 0.5 * around.reshape(-1, 3).mean(axis=0)).astype(np.float32)
        u = np.clip(self._x[:1] / person.eye_length, -1.0, 1.0)
        outward = u * sign
        tilt = -person.eye_tilt * outward * person.eye_length
        self._u = u
        self._top = -person.eye_height * (1.0 - np.abs(u + 0.08 * sign) ** 2.1).clip(0) ** 0.85 + tilt
        self._bottom = 0.62 * person.eye_height * (1.0 - np.abs(u) ** 2.0).clip(0) ** 0.9 + tilt

    def draw(self, blink: float, gaze: tuple[float, float]) -> Layer:
        """Draw the eye; `blink` is 0 (open) to 1 (closed), `gaze` (x, y) in face units."""
        y, soft = self._y, 1.0 / self.canvas.density + 0.004
        top = self._top + (self._bottom - self._top) * blink
        across = 1.0 - ramp(np.abs(self._x), self._person.eye_length - 0.03, self._person.eye_length)
        ball = self._ball(gaze, top)
        open_mask = (
            np.clip(0.5 + (y - top) / (2 * soft), 0, 1) * np.clip(0.5 + (self._bottom - y) / (2 * soft), 0, 1) * across
        )
        lid_mask = np.clip(0.5 + (y - self._top) / (2 * soft), 0, 1) * np.clip(
            0.5 + (self._bottom - y) / (2 * soft), 0, 1
        )
        lid_mask = lid_mask * across * min(1.0, blink * 4.0)
        color = mix(self._skin * 0.93, ball, open_mask)
        alpha = np.maximum(open_mask, lid_mask)
        lash_size = 0.016 + 0.014 * self._person.liner
        lash = np.exp(-0.5 * ((y - top + 0.008) / lash_size) ** 2) * (1.0 - ramp(np.abs(self._u), 0.86, 1.0))
        lash = lash * (0.62 + 0.38 * ramp(self._u * self._sign, -0.6, 0.6)) * (0.75 + 0.25 * self._person.liner)
        under = np.exp(-0.5 * ((y - self._bottom - 0.006) / 0.011) ** 2) * (1.0 - ramp(np.abs(self._u), 0.8, 1.0))
        under = under * (0.28 + 0.4 * self._person.liner)
        line = np.clip(np.maximum(lash, under), 0.0, 1.0).astype(np.float32)
        ink = self._skin * np.array([0.16, 0.12, 0.12], dtype=np.float32)
        total = np.maximum(alpha, line)
        color = mix(color, ink, np.clip(line / np.maximum(total, 1e-3), 0, 1) * np.clip(line * 1.1, 0, 1) ** 0.5)
        return Layer.from_color(self.canvas, color, total.astype(np.float32))

    def _ball(self, gaze: tuple[float, float], top: Floats) -> Floats:
        person, x, y = self._person, self._x - gaze[0], self._y - gaze[1] + 0.012
        radius = np.sqrt(x**2 + y**2)
        white = np.array([0.93, 0.91, 0.89], dtype=np.float32)
        pink = np.array([0.82, 0.60, 0.56], dtype=np.float32)
        color = mix(np.broadcast_to(white, (*x.shape, 3)), pink, ramp(np.abs(self._u) + 0 * y, 0.6, 1.0) * 0.6)
        inner = bump(self._x, self._y, (-self._sign * person.eye_length * 0.90, 0.01), (0.03, 0.03))
        color = mix(color, pink * 0.92, inner)
        iris = np.array(person.iris, dtype=np.float32)
        tone = 0.75 + 0.6 * ramp(radius, 0.03, 0.075) - 0.75 * ramp(radius, 0.072, 0.10) + 0.25 * ramp(y, -0.05, 0.08)
        soft = 1.0 / self.canvas.density + 0.004
        color = mix(color, iris * tone[..., None], 1.0 - ramp(radius, _IRIS_RADIUS - soft, _IRIS_RADIUS + soft))
        color = mix(
            color, np.array([0.02, 0.02, 0.02], dtype=np.float32), 1.0 - ramp(radius, 0.040 - soft, 0.040 + soft)
        )
        shadow = np.exp(-np.clip(self._y - top, 0, 1) / 0.035)
        color = color * (1.0 - 0.42 * shadow[..., None]) * np.clip(self._light, 0.15, 1.15)
        spot = (0.045 * np.sign(self._scene.light[0] + 1e-6), -0.040)
        shine = bump(x, y, spot, (0.014, 0.014))
        return mix(color.astype(np.float32), np.ones(3, dtype=np.float32), np.clip(shine * 1.2, 0, 0.95))


_UPPER_LIFT = 0.045
_LOWER_DROP = 0.29
JAW_DROP = 0.24


@dataclass(frozen=True)
class MouthShape:
    """Curves of a mouth over the columns, (1, w) in face units: y of the lip edges, and u = x / half width."""

    u: Floats
    outer_top: Floats
    inner_top: Floats
    inner_bottom: Floats
    outer_bottom: Floats
    half_width: float
    jaw_drop: float


def mouth_shape(person: Person, opening: float, width: float, x: Floats) -> MouthShape:
    """Return the lip curves of an opening in [0, 1] and a width in [0, 1] (0.5 is neutral) at columns x (1, w)."""
    spread = width - 0.5
    half = person.mouth_width * (1.0 + 0.42 * spread - 0.08 * opening)
    u = np.clip(x / half, -1.0, 1.0)
    body = 1.0 - u**2
    rest = (
        person.mouth_y
        - person.smile * (1.0 - 2.0 * body)
        - 0.012 * np.exp(-0.5 * (u / 0.16) ** 2)
        + 0.02 * spread * body
    )
    lift = _UPPER_LIFT * opening * body**0.8
    drop = _LOWER_DROP * opening * body**0.7
    plump = 1.0 - 0.28 * spread
    thin = plump * (1.0 - 0.18 * opening)
    bow = (
        1.0
        - person.cupid * np.exp(-0.5 * (u / 0.13) ** 2) * 0.6
        + 0.10 * np.exp(-0.5 * ((np.abs(u) - 0.30) / 0.14) ** 2)
    )
    inner_top, inner_bottom = rest - lift, rest + drop
    outer_top = inner_top - person.upper_lip * thin * bow * (1.0 - np.abs(u) ** 1.7) ** 0.9
    outer_bottom = inner_bottom + person.lower_lip * thin * (1.0 - np.abs(u) ** 2.2) ** 0.75
    curves = (np.asarray(c, dtype=np.float32) for c in (u, outer_top, inner_top, inner_bottom, outer_bottom))
    return MouthShape(*curves, half_width=half, jaw_drop=JAW_DROP * opening)


class MouthRenderer:
    """Draws the mouth of one person.

    Args:
        person: colours and shapes.
        head: the drawn head, for the light.
        density: pixels per face unit.
    """

    def __init__(self, person: Person, head: HeadDrawing, density: float) -> None:
        self._person = person
        middle = person.mouth_y
        self.canvas = Canvas(-0.58, middle - 0.26, 0.58, middle + 0.52, density)
        self._x, self._y = self.canvas.grid()
        corners = head.layer.canvas.to_pixels(np.stack([self._x.ravel(), self._y.ravel()], axis=1))
        maps = corners.reshape(*self._x.shape, 2)
        light = cv2.remap(head.light, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        flat = light.mean(axis=(0, 1), keepdims=True)
        self._light = np.clip(0.5 * light + 0.5 * flat, 0.05, 1.6).astype(np.float32)
        rng = np.random.default_rng(person.seed + 2)
        lines = np.interp(self._x[:1], np.linspace(-0.7, 0.7, 70), rng.standard_normal(70))
        self._lip_lines = (1.0 + 0.035 * lines).astype(np.float32)
        self._teeth = self._upper_teeth()

    def draw(self, opening: float, width: float) -> Layer:
        """Draw the mouth with an opening in [0, 1] and a width in [0, 1]."""
        shape = mouth_shape(self._person, opening, width, self._x[:1])
        soft = 1.0 / self.canvas.density + 0.006
        rim = soft + self._person.lip_softness
        y = self._y
        inside = _above(y - shape.inner_top, soft) * _above(shape.inner_bottom - y, soft)
        whole = _above(y - shape.outer_top, rim) * _above(shape.outer_bottom - y, rim)
        edge = 1.0 - ramp(np.abs(self._x), shape.half_width - 0.03 - rim + soft, shape.half_width + 0.005)
        color = mix(self._lips(shape, opening), self._cavity(shape, opening), np.clip(inside * 1.35, 0.0, 1.0))
        closed = np.exp(-0.5 * ((y - 0.5 * (shape.inner_top + shape.inner_bottom)) / 0.012) ** 2) * (1.0 - ramp(
            shape.inner_bottom - shape.inner_top, 0.0, 0.05))  # fmt: skip
        color = mix(color, color * np.array([0.30, 0.20, 0.20], dtype=np.float32), closed * 0.85)
        corner = bump(
            np.abs(self._x), y, (shape.half_width - 0.005, self._person.mouth_y - self._person.smile), (0.022, 0.02)
        )
        color = mix(color, color * 0.35, np.clip(corner * 0.7, 0.0, 1.0))
        alpha = np.maximum(whole * edge, 0.45 * corner)
        return Layer.from_color(self.canvas, color, alpha.astype(np.float32))

    def _lips(self, shape: MouthShape, opening: float) -> Floats:
        person, y = self._person, self._y
        lip = np.array(person.lip, dtype=np.float32)
        top_size = np.maximum(shape.inner_top - shape.outer_top, 0.01)
        bottom_size = np.maximum(shape.outer_bottom - shape.inner_bottom, 0.01)
        v_top = np.clip((y - shape.outer_top) / top_size, 0.0, 1.0)
        v_bottom = np.clip((y - shape.inner_bottom) / bottom_size, 0.0, 1.0)
        upper = 0.96 - 0.30 * v_top**1.5
        lower = 0.82 + 0.30 * np.clip(np.sin(np.pi * v_bottom), 0, 1) ** 0.8 - 0.14 * v_bottom**3
        middle = 0.5 * (shape.inner_top + shape.inner_bottom)
        tone = np.where(y < middle, upper, lower) * self._lip_lines * (1.0 - 0.12 * shape.u**4)
        color = skin_under_light(lip * tone[..., None].astype(np.float32), self._light)
        gloss = np.exp(-0.5 * ((v_bottom - 0.36) / 0.16) ** 2) * np.exp(-0.5 * (shape.u / 0.38) ** 2) * (y > middle)
        peaks = np.exp(-0.5 * ((v_top - 0.25) / 0.14) ** 2) * np.exp(-0.5 * ((np.abs(shape.u) - 0.22) / 0.14) ** 2)
        gloss += 0.35 * peaks * (y < middle)
        rim = np.exp(-0.5 * ((v_bottom - 1.0) / 0.10) ** 2) + np.exp(-0.5 * (v_top / 0.12) ** 2)
        color = mix(color, np.array(person.skin, dtype=np.float32) * self._light, np.clip(rim * 0.35, 0, 1))
        return color + 0.13 * person.lip_gloss * gloss[..., None].astype(np.float32) * self._light

    def _cavity(self, shape: MouthShape, opening: float) -> Floats:
        person, x, y = self._person, self._x, self._y
        depth = ramp(y - shape.inner_top, 0.0, 0.30)
        dark = np.array([0.17, 0.045, 0.045], dtype=np.float32)
        color = mix(np.broadcast_to(dark, (*x.shape, 3)), dark * 1.9, depth)
        tongue_y = person.mouth_y + 0.13 + 0.22 * opening
        tongue = np.sqrt((x / 0.27) ** 2 + ((y - tongue_y) / 0.135) ** 2)
        groove = 1.0 - 0.22 * np.exp(-0.5 * (x / 0.03) ** 2) * ramp(tongue_y - y, -0.05, 0.08)
        pink = np.array([0.70, 0.34, 0.34], dtype=np.float32) * (1.05 - 0.45 * tongue)[..., None] * groove[..., None]
        color = mix(
            color, pink, (1.0 - ramp(tongue, 0.80, 1.02)) * ramp(shape.inner_bottom - shape.inner_top, 0.08, 0.16)
        )
        if person.lower_teeth:
            color = self._lower_teeth(color, shape, opening)
        teeth, cover = self._teeth
        color = mix(color, teeth, cover)
        under_lip = np.exp(-np.clip(y - shape.inner_top, 0.0, 1.0) / 0.035)
        color = color * (1.0 - 0.34 * under_lip[..., None]).astype(np.float32)
        side = 1.0 - 0.55 * ramp(np.abs(shape.u), 0.55, 0.98)
        return (color * side[..., None] * np.clip(self._light, 0.2, 1.3)).astype(np.float32)

    def _upper_teeth(self) -> tuple[Floats, Floats]:
        person, x, y = self._person, self._x, self._y
        bounds = np.array([0.0, 0.125, 0.225, 0.325, 0.41])
        reach = person.mouth_width * 0.92
        size = np.interp(
            np.abs(x), [0.0, 0.06, 0.12, 0.17, 0.22, 0.30, 0.40], [0.085, 0.092, 0.082, 0.076, 0.080, 0.068, 0.05]
        )
        low = person.mouth_y - 0.012 + size - person.teeth_hidden - 0.10 * x**2
        cover = (1.0 - ramp(y - low, -0.012, 0.012)) * (1.0 - ramp(np.abs(x), reach - 0.08, reach))
        gaps = np.min(np.abs(np.abs(x)[..., None] - bounds), axis=-1)
        tone = 1.0 - 0.16 * np.exp(-0.5 * (gaps / 0.008) ** 2)
        tone = tone * (1.0 - 0.34 * ramp(np.abs(x), 0.14, reach)) * (1.0 - 0.10 * ramp(y - low, -0.05, 0.0))
        tone = tone * person.teeth_light
        return (np.array(person.teeth, dtype=np.float32) * tone[..., None]).astype(np.float32), cover.astype(np.float32)

    def _lower_teeth(self, color: Floats, shape: MouthShape, opening: float) -> Floats:
        person, x, y = self._person, self._x, self._y
        top = person.mouth_y + _LOWER_DROP * opening - 0.035 + 0.25 * x**2
        cover = (
            ramp(y - top, -0.012, 0.012)
            * (1.0 - ramp(np.abs(x), 0.20, 0.30))
            * ramp(np.float32(opening) + 0 * y, 0.25, 0.5)
        )
        gaps = np.abs((np.abs(x) / 0.082) % 1.0 - 0.5)
        tone = person.teeth_light * (0.80 - 0.10 * np.exp(-0.5 * ((0.5 - gaps) / 0.09) ** 2))
        return mix(color, np.array(person.teeth, dtype=np.float32) * tone[..., None].astype(np.float32), cover)


def _above(distance: Floats, soft: float) -> Floats:
    """Return a ramp from 0 to 1 across an edge of half width `soft` at distance 0."""
    return np.clip(0.5 + distance / (2.0 * soft), 0.0, 1.0)
