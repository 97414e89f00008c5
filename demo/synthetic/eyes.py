"""The eyes of one frame: lids, iris, pupil, lashes, drawn from blink and gaze."""

from __future__ import annotations

import cv2
import numpy as np

from demo.synthetic.drawing import Canvas, Floats, Layer, bump, mix, ramp
from demo.synthetic.head import PaintedHead
from demo.synthetic.person import Person
from demo.synthetic.scene import Scene

EYE_X = 0.5
IRIS_RADIUS = 0.098


class EyePainter:
    """Draws the layer of one eye; `sign` is -1 for the eye at the left of the picture, 1 for the right."""

    def __init__(self, person: Person, scene: Scene, head: PaintedHead, density: float, sign: float) -> None:
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

    def paint(self, blink: float, gaze: tuple[float, float]) -> Layer:
        """Eye layer; blink 0 open to 1 closed, gaze (x, y) in face units."""
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
        return Layer.paint(self.canvas, color, total.astype(np.float32))

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
        color = mix(color, iris * tone[..., None], 1.0 - ramp(radius, IRIS_RADIUS - soft, IRIS_RADIUS + soft))
        color = mix(
            color, np.array([0.02, 0.02, 0.02], dtype=np.float32), 1.0 - ramp(radius, 0.040 - soft, 0.040 + soft)
        )
        shadow = np.exp(-np.clip(self._y - top, 0, 1) / 0.035)
        color = color * (1.0 - 0.42 * shadow[..., None]) * np.clip(self._light, 0.15, 1.15)
        spot = (0.045 * np.sign(self._scene.light[0] + 1e-6), -0.040)
        shine = bump(x, y, spot, (0.014, 0.014))
        return mix(color.astype(np.float32), np.ones(3, dtype=np.float32), np.clip(shine * 1.2, 0, 0.95))
