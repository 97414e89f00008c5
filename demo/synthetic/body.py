"""Neck, shoulders and clothes, painted once per clip."""

from __future__ import annotations

import numpy as np

from demo.synthetic.drawing import (
    Canvas,
    Floats,
    Layer,
    bump,
    line_mask,
    mix,
    polygon_mask,
    ramp,
    smooth_closed_curve,
)
from demo.synthetic.person import Person
from demo.synthetic.relief import shade, skin_under_light
from demo.synthetic.scene import Scene


def paint_body(person: Person, scene: Scene, density: float) -> Layer:
    """Layer of the body below the head; its plane is the face plane of an upright head."""
    canvas = Canvas(-4.2, 0.6, 4.2, 7.6, density)
    x, y = canvas.grid()
    side = np.abs(x)
    neck = person.neck_width
    wide = 2.75 if person.feminine else 3.1
    flare = neck + 0.05 * np.clip(y - 1.6, 0, 3) ** 2 + 0.5 * ramp(y, 2.3, 3.0)
    neck_mask = (1.0 - ramp(side - flare, -0.015, 0.015)) * ramp(y, 0.7, 0.9)
    torso = _torso(canvas, neck, wide)
    round_neck = np.sqrt(np.clip(1.0 - (side / (flare + 0.02)) ** 2, 0.0, 1.0)) * 0.6
    light, _ = shade(round_neck.astype(np.float32), canvas, scene)
    cast = 0.55 * (1.0 - ramp(y, person.chin_y + 0.05, person.chin_y + 0.65)) + 0.08
    light = light * (1.0 - cast[..., None])
    skin = np.broadcast_to(np.array(person.skin, dtype=np.float32), (*x.shape, 3))
    color = skin_under_light(skin * np.array([1.0, 0.93, 0.92], dtype=np.float32), light)
    tendon = bump(side - 0.28 * (2.9 - y), y, (0.12, 2.45), (0.05, 0.35)) * 0.12
    color = color * (1.0 - tendon[..., None])
    cloth, cover = _cloth(person, scene, canvas, x, y, torso, neck)
    color = mix(color, cloth, cover)
    return Layer.paint(canvas, color, np.maximum(np.maximum(neck_mask, torso), cover))


def _torso(canvas: Canvas, neck: float, wide: float) -> Floats:
    right = [
        (neck + 0.1, 2.42),
        (neck + 0.75, 2.75),
        (wide - 0.5, 3.05),
        (wide - 0.08, 3.45),
        (wide + 0.1, 4.4),
        (wide, 8.5),
    ]
    half = np.array(right)
    points = np.concatenate([half, half[::-1] * np.array([-1.0, 1.0])])
    return polygon_mask(canvas, smooth_closed_curve(points, 12))


def _cloth(
    person: Person, scene: Scene, canvas: Canvas, x: Floats, y: Floats, torso: Floats, neck: float
) -> tuple[Floats, Floats]:
    side = np.abs(x)
    base, second = np.array(person.cloth, dtype=np.float32), np.array(person.cloth_second, dtype=np.float32)
    color = np.broadcast_to(base, (*x.shape, 3)).astype(np.float32)
    if person.cloth_pattern != "plain":
        stripes = ramp(np.sin(y * 14.0), -0.2, 0.2)
        if person.cloth_pattern == "checks":
            stripes = 0.5 * stripes + 0.5 * ramp(np.sin(x * 14.0), -0.2, 0.2)
        color = mix(color, second, stripes * 0.8)
    folds = 0.10 * np.sin(x * 2.2 + 0.6 * y) * np.cos(y * 1.3 - x) + 0.4 * np.sqrt(np.clip(1 - (side / 3.6) ** 2, 0, 1))
    light, _ = shade(folds.astype(np.float32), canvas, scene, 0.0)
    depth = {"crew": 0.35, "v": 1.25, "shirt": 0.75, "turtleneck": -0.9, "suit": 1.6, "strap": 1.1}[person.clothes]
    line = 2.62 + depth * (1.0 - np.clip(side / (neck + 0.45), 0, 1) ** (1.0 if depth > 0.7 else 2.0))
    cover = torso * ramp(y - line, -0.015, 0.015)
    if person.clothes == "turtleneck":
        tube = (1.0 - ramp(side, neck + 0.04, neck + 0.09)) * ramp(y, 2.02, 2.06)
        cover = np.maximum(torso, tube)
        color = color * (1.0 - 0.15 * bump(x, y, (0.0, 2.6), (2.0, 0.08))[..., None])
    if person.clothes == "suit":
        inner = 1.0 - ramp(side - 0.9 * (4.9 - y) / 2.3, -0.02, 0.02)
        color = mix(color, second * 0.5 + 0.5, inner)
        cover = np.maximum(cover, torso * ramp(y - (2.55 + 0.7 * (1 - np.clip(side / 0.9, 0, 1))), -0.015, 0.015))
        tie = (1.0 - ramp(side, 0.16, 0.19)) * ramp(y, 3.2, 3.25)
        color = mix(color, second * 0.6, tie)
    if person.clothes == "strap":
        cover = cover * ramp(y - 3.3 + 1.2 * bump(side, y, (neck + 0.7, 3.0), (0.16, 2.0)), -0.02, 0.02)
    color = color * light
    if person.clothes in ("shirt", "suit"):
        color, cover = _collar(person, canvas, color, cover, light, neck)
    edge = cover * (1.0 - ramp(y - line, 0.03, 0.10)) * 0.25
    return (color * (1.0 - edge[..., None])).astype(np.float32), cover.astype(np.float32)


def _collar(
    person: Person, canvas: Canvas, color: Floats, cover: Floats, light: Floats, neck: float
) -> tuple[Floats, Floats]:
    tone = np.array(person.cloth if person.clothes == "shirt" else person.cloth_second, dtype=np.float32) * 0.6 + 0.4
    for sign in (-1.0, 1.0):
        flap = np.array([(neck + 0.02, 2.05), (neck + 0.22, 2.45), (0.62, 3.25), (0.10, 3.12), (neck - 0.05, 2.40)])
        flap = flap * np.array([sign, 1.0])
        mask = polygon_mask(canvas, flap)
        color = mix(color, tone * light, mask)
        color = color * (1.0 - 0.3 * line_mask(canvas, flap, 0.03, closed=True)[..., None])
        cover = np.maximum(cover, mask)
    return color, cover
