"""Things held in front of a mouth, drawn once: a hand, a microphone and a mug, each with the arm that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from demo.synthetic.drawing import Canvas, Floats, Layer, bump, mix, ramp, random_color, soften, to_bytes
from demo.synthetic.person import Person
from demo.synthetic.relief import shade, skin_under_light
from demo.synthetic.renderer import Backdrop
from demo.synthetic.scene import Scene

OccluderKind = Literal["hand", "microphone", "mug"]

_EDGE = 0.012
"""Half width of a soft edge in face units."""

_WIDE, _TALL = (-1.4, 2.8), (-1.7, 6.3)
"""Canvas, for an arm from the right: the forearm ends 6.3 face units below the mouth, beyond the frame."""

Capsule = tuple[tuple[float, float], tuple[float, float], float, float]
"""Both ends (x, y) of a rounded stick and the radii there."""


def draw_occluder(
    kind: OccluderKind, rng: np.random.Generator, person: Person, scene: Scene, side: float, density: float
) -> Layer:
    """Draw a thing with the person's hand and sleeve, in the scene's light and colour grade.

    Args:
        kind: the thing.
        rng: source of its colours.
        person: whose skin and clothes the arm has.
        scene: light and colour grade.
        side: -1 for an arm that comes from the left of the image, 1 for one from the right.
        density: pixels per face unit.

    Returns:
        Layer in face units, whose origin is the part that comes in front of the mouth.
    """
    near, far = -_WIDE[0], _WIDE[1]
    x0, x1 = (-near, far) if side > 0 else (-far, near)
    drawing = _Drawing(Canvas(x0, _TALL[0], x1, _TALL[1], density), scene, side)
    draw = {"hand": _draw_hand, "microphone": _draw_microphone, "mug": _draw_mug}[kind]
    draw(drawing, rng, person)
    graded = Backdrop(scene).graded(to_bytes(drawing.color)).astype(np.float32) / 255.0
    return Layer.from_color(drawing.canvas, graded, drawing.alpha)


class _Drawing:
    """Parts that are drawn one over the other; `color` (h, w, 3) and `alpha` (h, w) are in [0, 1]."""

    def __init__(self, canvas: Canvas, scene: Scene, side: float) -> None:
        self.canvas, self._scene = canvas, scene
        x, self.y = canvas.grid()
        self.x = x * np.float32(side)
        """Columns, mirrored for an arm from the left: all parts are drawn for one from the right."""
        self._side = side
        self.color = np.zeros((*x.shape, 3), dtype=np.float32)
        self.alpha = np.zeros(x.shape, dtype=np.float32)

    def put(self, color: Floats, height: Floats, cover: Floats, gloss: float = 0.1, is_skin: bool = False) -> None:
        """Draw a part over the others, which it shadows at its edge.

        Args:
            color: (h, w, 3) or (3,).
            height: (h, w) relief in face units.
            cover: (h, w) coverage.
            gloss: strength of highlights.
            is_skin: True if light is scattered inside.
        """
        light, shine = shade(height, self.canvas, self._scene, gloss)
        color = np.broadcast_to(color, self.color.shape)
        lit = skin_under_light(color, light) if is_skin else color * light
        shadow = 1.0 - 0.45 * soften(cover, 0.09 * self.canvas.density)
        self.color = mix(self.color * shadow[..., None], lit + shine, cover)
        self.alpha = np.maximum(self.alpha, cover)

    def capsules(self, parts: Sequence[Capsule], grow: float = 0.0) -> tuple[Floats, Floats]:
        """Return height and coverage (h, w) of rounded sticks, whose radii are increased by `grow`."""
        height, cover = np.zeros_like(self.y), np.zeros_like(self.y)
        for start, stop, first, last in parts:
            axis = np.subtract(stop, start)
            along = ((self.x - start[0]) * axis[0] + (self.y - start[1]) * axis[1]) / float(axis @ axis)
            along = np.clip(along, 0.0, 1.0)
            distance = np.hypot(self.x - start[0] - along * axis[0], self.y - start[1] - along * axis[1])
            radius = first + (last - first) * along + grow
            height = np.maximum(height, np.sqrt(np.clip(radius**2 - distance**2, 0.0, None)))
            cover = np.maximum(cover, 1.0 - ramp(distance - radius, -_EDGE, _EDGE))
        return height.astype(np.float32), cover.astype(np.float32)

    def skin(self, person: Person, parts: Sequence[Capsule], relief: Floats | float = 0.0) -> None:
        """Draw parts of a hand, redder at the edges; `relief` is added to their height."""
        height, cover = self.capsules(parts)
        tone = np.array(person.skin, dtype=np.float32)
        red = tone * np.array([0.95, 0.80, 0.76], dtype=np.float32)
        rim = 1.0 - ramp(height, 0.03, 0.12)
        self.put(mix(np.broadcast_to(tone, self.color.shape), red, 0.6 * rim), height + relief, cover, is_skin=True)

    def sleeve(self, person: Person, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Draw the clothed forearm."""
        height, cover = self.capsules([(start, stop, 0.52, 0.85)])
        length = float(np.hypot(*np.subtract(stop, start)))
        along = ((self.x - start[0]) * (stop[0] - start[0]) + (self.y - start[1]) * (stop[1] - start[1])) / length
        cover = cover * ramp(along, -_EDGE, _EDGE)
        folds = 0.03 * np.sin(9.0 * along + 2.0 * self.x) * np.sin(3.1 * along)
        hem = 1.0 - 0.25 * (ramp(along, 0.10, 0.12) - ramp(along, 0.13, 0.15))
        self.put(np.array(person.cloth, dtype=np.float32) * hem[..., None], height + folds, cover, gloss=0.0)


def _draw_hand(drawing: _Drawing, rng: np.random.Generator, person: Person) -> None:
    """Draw the back of an upright hand; the origin is the middle of the fingers' roots."""
    drawing.skin(person, [((0.02, 1.0), (0.05, 2.7), 0.40, 0.43)])
    drawing.sleeve(person, (0.05, 2.2), (0.3, 9.5))
    roots = ((-0.49, 0.0), (-0.17, -0.08), (0.16, -0.06), (0.47, 0.06))
    tips = ((-0.72, -1.02), (-0.24, -1.32), (0.22, -1.24), (0.66, -0.86))
    x, y = drawing.x, drawing.y
    knuckles = sum(0.05 * bump(x, y, root, (0.10, 0.12)) for root in roots)
    tendons = sum(0.02 * bump(x - rx - 0.25 * (0.1 - rx) * (y - ry), y, (0.0, 0.45), (0.045, 0.35)) for rx, ry in roots)
    palm = [
        ((-0.32, 0.1), (-0.16, 0.95), 0.36, 0.36), ((0.30, 0.14), (0.20, 0.95), 0.36, 0.36),
        ((0.0, 0.05), (0.02, 1.0), 0.42, 0.40),
    ]  # fmt: skip
    drawing.skin(person, [((-0.42, 0.75), (-0.92, 0.10), 0.23, 0.17), ((-0.92, 0.10), (-1.00, -0.38), 0.17, 0.13)])
    drawing.skin(person, palm, np.asarray(knuckles + tendons, dtype=np.float32))
    for root, tip in zip(roots, tips, strict=True):
        _draw_finger(drawing, person, root, tip)


def _draw_finger(
    drawing: _Drawing, person: Person, root: tuple[float, float], tip: tuple[float, float]
) -> None:  # fmt: skip
    """Draw a stretched finger with two joints and a nail."""
    across = np.array([0.17, 0.125])
    x, y = drawing.x, drawing.y
    joints = [tuple(np.add(root, share * np.subtract(tip, root))) for share in (0.45, 0.75)]
    relief = sum(0.02 * bump(x, y, (float(jx), float(jy)), (0.10, 0.05)) for jx, jy in joints)
    drawing.skin(person, [(root, tip, float(across[0]), float(across[1]))], np.asarray(relief, dtype=np.float32))
    nail = np.add(tip, 0.05 * np.subtract(root, tip))
    spot = np.hypot((x - nail[0]) / 0.075, (y - nail[1]) / 0.10)
    color = np.array(person.skin, dtype=np.float32) * 0.75 + np.array([0.25, 0.20, 0.19], dtype=np.float32)
    height = 0.05 * np.sqrt(np.clip(1.0 - spot**2, 0.0, None))
    drawing.put(color, height.astype(np.float32), 0.8 * (1.0 - ramp(spot, 0.85, 1.1)), gloss=0.25, is_skin=True)


def _draw_fist(drawing: _Drawing, person: Person, x: float, y: float, half: float) -> None:
    """Draw four fingers around an upright handle at x, y, of half the width `half`, and their thumb."""
    for number, (reach, radius) in enumerate(((1.0, 0.165), (1.08, 0.17), (1.04, 0.165), (0.9, 0.145))):
        row = y + 0.31 * number
        drawing.skin(person, [((x + half + 0.12, row), (x - half * reach, row + 0.04), radius, radius)])
    drawing.skin(person, [((x + half + 0.30, y + 0.05), (x - 0.05, y - 0.27), 0.19, 0.15)])


def _draw_microphone(drawing: _Drawing, rng: np.random.Generator, person: Person) -> None:
    """Draw a microphone in a fist; the origin is the middle of its grille."""
    dark = np.full(3, 0.10, dtype=np.float32) + 0.06 * random_color(rng, (0.2, 1.0))
    drawing.skin(person, [((0.50, 1.35), (0.50, 2.05), 0.36, 0.40), ((0.50, 2.0), (0.75, 3.1), 0.40, 0.43)])
    drawing.sleeve(person, (0.64, 2.65), (1.9, 9.5))
    height, cover = drawing.capsules([((0.0, 0.35), (0.0, 2.9), 0.27, 0.19)])
    drawing.put(dark, height, cover, gloss=0.5)
    x, y = drawing.x, drawing.y
    ring = (1.0 - ramp(np.abs(x), 0.31 - _EDGE, 0.31 + _EDGE)) * bump(0 * y, y, (0, 0.34), (1, 0.05))
    drawing.put(np.full(3, 0.55, dtype=np.float32), height, np.clip(1.6 * ring, 0.0, 1.0), gloss=0.8)
    height, cover = drawing.capsules([((0.0, -0.02), (0.0, 0.04), 0.37, 0.37)])
    mesh = np.sin(62.0 * (x + y)) * np.sin(62.0 * (x - y))
    grey = 0.30 + 0.10 * mesh
    drawing.put(np.repeat(grey[..., None], 3, axis=2), height, cover, gloss=0.4)
    _draw_fist(drawing, person, 0.0, 1.25, 0.24)


def _draw_mug(drawing: _Drawing, rng: np.random.Generator, person: Person) -> None:
    """Draw a mug in a fist; the origin is the middle of its upper half."""
    x, y = drawing.x, drawing.y
    base, second = random_color(rng, (0.35, 1.0)), random_color(rng, (0.1, 1.0))
    drawing.skin(person, [((1.18, 0.10), (1.15, 0.85), 0.34, 0.38), ((1.15, 0.8), (1.35, 2.0), 0.38, 0.43)])
    drawing.sleeve(person, (1.28, 1.6), (2.5, 9.5))
    ring = np.hypot((x - 0.62) / 0.40, (y - 0.35) / 0.46)
    height = 0.12 * np.sqrt(np.clip(1.0 - ((ring - 0.85) / 0.17) ** 2, 0.0, None))
    drawing.put(base, height.astype(np.float32), 1.0 - ramp(np.abs(ring - 0.85), 0.15, 0.18), gloss=0.4)
    half = 0.64 - 0.03 * ramp(y, 0.6, 1.05)
    curve = 0.09 * np.sqrt(np.clip(1.0 - (x / 0.64) ** 2, 0.0, 1.0))
    cover = (1.0 - ramp(np.abs(x) - half, -_EDGE, _EDGE)) * (1.0 - ramp(y - curve, 0.98 - _EDGE, 0.98 + _EDGE))
    cover = cover * ramp(y + curve, -0.48 - _EDGE, -0.48 + _EDGE)
    band = ramp(y - curve, 0.20, 0.22) - ramp(y - curve, 0.52, 0.54)
    color = mix(np.broadcast_to(base, (*x.shape, 3)).astype(np.float32), second, band)
    round_side = 0.64 * np.sqrt(np.clip(1.0 - (x / 0.66) ** 2, 0.0, None))
    drawing.put(color, round_side.astype(np.float32), cover, gloss=0.5)
    inside = np.hypot(x / 0.58, (y + 0.48) / 0.075)
    drawing.put(base * 0.45, 0.0 * y, 1.0 - ramp(inside, 0.95, 1.05), gloss=0.0)
    _draw_fist(drawing, person, 0.92, -0.02, 0.12)
