"""Static layers around the face, drawn once per clip: neck, shoulders, clothes and hair."""

from __future__ import annotations

import cv2
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
    smooth_noise,
    soften,
)
from demo.synthetic.person import Person
from demo.synthetic.relief import head_outline, shade, skin_under_light
from demo.synthetic.scene import Scene


def draw_body(person: Person, scene: Scene, density: float) -> Layer:
    """Draw neck, shoulders and clothes, in the face plane of an upright head."""
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
    return Layer.from_color(canvas, color, np.maximum(np.maximum(neck_mask, torso), cover))


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


LONG_STYLES = ("long", "long_wavy", "bob")


def draw_hair(person: Person, scene: Scene, density: float) -> tuple[Layer | None, Layer | None]:
    """Draw the hair behind and in front of the head; a missing layer is None."""
    if person.hair_style == "bald":
        return None, None
    canvas = Canvas(-2.3, -2.9, 2.3, 4.4, density)
    rng = np.random.default_rng(person.seed + 1)
    x, y = canvas.grid()
    mass = _mass(person, canvas, x, y, rng)
    color = _lit_hair(person, scene, canvas, x, y, mass, rng)
    front = Layer.from_color(canvas, color, mass * _opening(person, x, y, rng))
    long = is_long(person)
    back = Layer.from_color(canvas, color * 0.55, mass) if long or person.hair_style in ("afro", "bun") else None
    return back, front


def is_long(person: Person) -> bool:
    """Return True if the hair falls beside face and neck."""
    return person.hair_style in LONG_STYLES or (person.hair_style == "fringe" and person.feminine)


def _mass(person: Person, canvas: Canvas, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Return the coverage (h, w) of the whole hair, including what the face hides."""
    style, volume = person.hair_style, person.hair_volume
    grow = {"buzz": 0.03, "receding": 0.06, "afro": 0.35 + volume, "quiff": 0.10, "bun": 0.07}.get(style, volume)
    outline = head_outline(person, grow)
    wobble = 0.05 if style in ("afro", "long_wavy") else 0.015
    turn = np.linspace(0.0, 2.0 * np.pi, len(outline), endpoint=False)
    bumps = sum(np.sin(k * turn + rng.uniform(0, 6.3)) * rng.normal() for k in (9, 14, 21, 30))
    outline = outline * (1.0 + wobble * 0.4 * np.asarray(bumps)[:, None])
    mass = polygon_mask(canvas, outline, 0.012)
    if style == "quiff":
        mass = np.maximum(mass, ramp(1.0 - np.hypot((x - person.parting * 0.5) / 0.95, (y + 1.62) / 0.48), 0.0, 0.06))
    if style == "bun":
        mass = np.maximum(mass, ramp(1.0 - np.hypot(x / 0.5, (y + 2.1) / 0.45), 0.0, 0.08))
    if not is_long(person):
        low = 1.0 if style == "afro" else 0.45
        return (mass * (1.0 - ramp(y, low - 0.25, low + 0.1))).astype(np.float32)
    end = 1.5 + 0.4 * (person.hair_length - 2.0) / 2.0 if style == "bob" else person.hair_length
    half = person.face_width + volume * 0.9
    spread = np.interp(y, [-0.6, 0.8, 2.0, 4.0], [half - 0.02, half + 0.02, half + 0.12, half - 0.2])
    waves = 0.06 if style == "long_wavy" else 0.015
    spread = spread + waves * np.sin(y * 7.0 + np.sign(x) * 1.3 + rng.uniform(0, 6.3)) * ramp(y, 0.0, 0.8)
    tips = end + 0.06 * smooth_noise(rng, (1, x.shape[1]), (1, 40))
    curtain = (1.0 - ramp(np.abs(x) - spread, -0.03, 0.02)) * (1.0 - ramp(y - tips, -0.1, 0.1)) * ramp(y, -0.7, -0.3)
    return np.maximum(mass, curtain).astype(np.float32)


def _opening(person: Person, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Return (h, w): 1 where hair is in front of the skin, 0 on the uncovered face."""
    side = np.abs(x)
    style = person.hair_style
    strand = smooth_noise(rng, (1, x.shape[1]), (1, 90)) * 0.6 + smooth_noise(rng, (1, x.shape[1]), (1, 35))
    center = {"buzz": -1.12, "receding": -1.50, "afro": -1.02, "bun": -1.05, "quiff": -1.08}.get(style, -1.02)
    rough, temple = 0.012, 0.18
    if style == "fringe":
        center, rough, temple = person.fringe_y, 0.045, 0.05
    elif style in ("short", "bob", "long", "long_wavy"):
        rough = 0.02
    lean = 0.10 * np.sin(person.parting * 3.0) * x if style != "fringe" else 0.12 * person.parting * x
    line = center + temple * np.clip(side / 0.9, 0, 1) ** 2 + lean + rough * strand
    if style in ("long", "long_wavy", "bob", "short"):
        line = line - 0.16 * bump(x, y, (person.parting, -1.1), (0.20, 0.6))
    if style == "receding":
        line = line + 0.28 * bump(x, y, (0.0, -1.2), (0.25, 1.0)) - 0.10 * bump(side, y, (0.6, -1.2), (0.2, 1.0))
    if is_long(person):
        edge = person.face_width * np.interp(y, [-0.8, 0.0, 0.9, 1.5, 2.2], [0.80, 0.90, 0.97, 0.98, 0.92])
        edge = edge + 0.015 * strand + 0.02 * np.sin(4.0 * y)
        falls = ramp(side - edge, -0.02, 0.03)
    else:
        burn = (0.35 if not person.feminine else 0.1) + 0.05 * strand
        edge = person.face_width * (0.93 + 0.04 * np.clip(y, -1.0, 0.5)) + 0.02 * strand
        falls = ramp(side - edge, -0.03, 0.04) * (1.0 - ramp(y, burn - 0.3, burn))
    above = ramp(line - y, -0.02, 0.035)
    return np.maximum(above, falls).astype(np.float32)


def _lit_hair(
    person: Person, scene: Scene, canvas: Canvas, x: Floats, y: Floats, mass: Floats, rng: np.random.Generator
) -> Floats:
    shape = (x.shape[0], x.shape[1])
    inside = cv2.distanceTransform((mass > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / canvas.density
    height = soften(np.sqrt(np.clip(1.0 - (1.0 - np.clip(inside / 0.8, 0, 1)) ** 2, 0, 1)).astype(np.float32) * 0.8,
                    0.05 * canvas.density)  # fmt: skip
    strands = _strands(person, x, y, shape, rng)
    light, _ = shade(height, canvas, scene, 0.0)
    base = np.array(person.hair, dtype=np.float32)
    band = bump(x, y, (scene.light[0] * 0.8, -1.45), (0.8, 0.16)) * (0.4 + 0.3 * strands)
    if person.hair_style in ("afro", "buzz"):
        band = band * 0.2
    color = base * light * (1.0 + 0.17 * strands[..., None])
    return (color + 0.16 * np.clip(band, 0, 1)[..., None] * (0.4 + base) * np.array(scene.key)).astype(np.float32)


def _strands(person: Person, x: Floats, y: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return a texture (h, w) along the hair: strands from the parting downwards, noise for curly and short hair."""
    if person.hair_style in ("afro", "buzz"):
        cells = 42 if person.hair_style == "afro" else 120
        return smooth_noise(rng, shape, (cells, int(cells * 0.63)))
    angle = np.arctan2(x - person.parting, np.maximum(1.9 + y, 0.02) * 0.9)
    hang = ramp(y, -1.0, 0.3)
    wave = 0.10 * np.sin(6.5 * y + 2.0 * x) if person.hair_style == "long_wavy" else 0.02 * np.sin(3.0 * y)
    across = angle * (1.0 - hang) * 1.2 + (x + wave) * hang
    profile = rng.standard_normal(220).astype(np.float32)
    fine = np.interp(across, np.linspace(-3.2, 3.2, 220), soften(profile[None], 0.8)[0])
    coarse = np.interp(across, np.linspace(-3.2, 3.2, 40), rng.standard_normal(40))
    return (0.9 * fine + 0.5 * coarse).astype(np.float32)
