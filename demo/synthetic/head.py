"""Head without eyes, mouth and hair, drawn once per clip: skin, ears, brows, nose, beard, glasses."""

from __future__ import annotations

from dataclasses import dataclass

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
    smooth_noise,
    soften,
)
from demo.synthetic.person import Person
from demo.synthetic.relief import face_height, head_outline, shade, skin_under_light
from demo.synthetic.scene import Scene


@dataclass(frozen=True)
class HeadDrawing:
    """A drawn head.

    Attributes:
        layer: the head.
        light: (h, w, 3), multiplied with the colours of eyes and mouth.
    """

    layer: Layer
    light: Floats


def head_canvas(density: float) -> Canvas:
    """Return the canvas of head and hair."""
    return Canvas(-2.1, -2.7, 2.1, 2.5, density)


def draw_head(person: Person, scene: Scene, density: float) -> HeadDrawing:
    """Draw skin with ears, brows, nose, beard and the creases of the eyelids."""
    canvas = head_canvas(density)
    rng = np.random.default_rng(person.seed)
    x, y = canvas.grid()
    height = face_height(person, canvas)
    light, shine = shade(height, canvas, scene)
    light *= _occlusion(person, x, y)[..., None]
    color = skin_under_light(_skin_color(person, x, y, rng), light)
    color += shine * (1.0 - 0.4 * person.wrinkles)
    color = _lids(person, canvas, x, y, color)
    color = _nostrils(person, x, y, color)
    color = _wrinkles(person, canvas, color)
    color = _scars(person, canvas, color)
    color = _blemishes(person, canvas, color)
    color = _beard(person, x, y, color, light, rng)
    color = _brows(person, canvas, x, y, color, light, rng)
    face = polygon_mask(canvas, head_outline(person))
    ears, ear_color = _ears(person, x, y, light)
    alpha = np.maximum(face, ears)
    color = mix(ear_color, color, face)
    return HeadDrawing(Layer.from_color(canvas, color, alpha), soften(light, 0.06 * density))


def _skin_color(person: Person, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    skin = np.array(person.skin, dtype=np.float32)
    color = np.broadcast_to(skin, (*x.shape, 3)).astype(np.float32)
    side = np.abs(x)
    red = person.blush * (
        bump(side, y, (0.66, 0.52), (0.25, 0.20)) + 0.6 * bump(x, y, (0, person.nose_tip_y), (0.2, 0.16))
    )
    red += 0.3 * bump(x, y, (0.0, person.chin_y - 0.2), (0.25, 0.15))
    color = mix(color, skin * np.array([1.05, 0.78, 0.76], dtype=np.float32), np.clip(red * 0.55, 0, 1))
    dark = bump(side, y, (0.44, 0.15), (0.22, 0.07)) * (0.25 + 0.35 * person.wrinkles)
    dark += 0.35 * bump(side, y, (0.40, -0.10), (0.24, 0.10))
    color = mix(color, skin * np.array([0.74, 0.62, 0.64], dtype=np.float32), np.clip(dark, 0, 1))
    if person.shadow is not None:
        color = mix(color, np.array(person.shadow, dtype=np.float32), 0.55 * bump(side, y, (0.52, -0.14), (0.20, 0.07)))
    shape = (x.shape[0], x.shape[1])
    mottle = smooth_noise(rng, shape, (60, 48)) * 0.010 + smooth_noise(rng, shape, (14, 11)) * 0.014
    color = color * (1.0 + mottle[..., None])
    if person.freckles > 0:
        spots = ramp(smooth_noise(rng, shape, (170, 140)), 1.0, 2.0)
        where = bump(side, y, (0.45, 0.42), (0.40, 0.22)) * person.freckles
        color = mix(color, skin * np.array([0.72, 0.55, 0.45], dtype=np.float32), spots * where * 0.65)
    return color.astype(np.float32)


def _occlusion(person: Person, x: Floats, y: Floats) -> Floats:
    """Return soft contact shadows (h, w): under nose and lower lip, beside the nose, in the eye sockets."""
    side, tip, mouth = np.abs(x), person.nose_tip_y, person.mouth_y
    dark = 0.24 * bump(x, y, (0.0, tip + 0.16), (person.nose_width * 0.62, 0.045))
    dark += 0.20 * bump(x, y, (0.0, mouth + person.lower_lip + 0.10), (0.22, 0.055))
    dark += 0.16 * bump(side, y, (0.19, -0.05), (0.07, 0.13))
    dark += 0.10 * bump(side, y, (person.nose_width + 0.06, tip + 0.05), (0.05, 0.08))
    dark += 0.10 * bump(side, y, (person.mouth_width + 0.04, mouth + 0.01), (0.05, 0.05))
    return np.clip(1.0 - dark, 0.0, 1.0)


def _lids(person: Person, canvas: Canvas, x: Floats, y: Floats, color: Floats) -> Floats:
    fold = np.zeros(x.shape, dtype=np.float32)
    for sign in (-1.0, 1.0):
        t = np.linspace(-1.0, 1.0, 24)
        across = 0.5 + t * person.eye_length * 1.02
        down = -(person.eye_height + 0.055) * (1.0 - np.abs(t) ** 2.4) - person.eye_tilt * t * person.eye_length - 0.015
        fold = np.maximum(fold, line_mask(canvas, np.stack([sign * across, down], axis=1), 0.022))
        bag = 0.5 + t * person.eye_length * 0.85
        under = person.eye_height * 0.6 + 0.09 * (1.0 - t**2)
        line = line_mask(canvas, np.stack([sign * bag, under], axis=1), 0.02) * (0.1 + 0.6 * person.wrinkles)
        fold = np.maximum(fold, soften(line, 0.02 * canvas.density))
    return mix(
        color, color * np.array([0.55, 0.45, 0.45], dtype=np.float32), soften(fold, 0.012 * canvas.density) * 0.8
    )


def _nostrils(person: Person, x: Floats, y: Floats, color: Floats) -> Floats:
    side, tip = np.abs(x), person.nose_tip_y
    hole = bump(side, y - 0.25 * side, (person.nose_width * 0.44, tip + 0.085), (0.042, 0.021))
    wing = side - person.nose_width * (1.0 - 0.5 * np.clip((tip + 0.02 - y) / 0.12, 0, 1) ** 2)
    edge = np.exp(-0.5 * (wing / 0.018) ** 2) * bump(side, y, (person.nose_width, tip + 0.04), (0.2, 0.055))
    color = mix(color, color * np.array([0.62, 0.52, 0.52], dtype=np.float32), np.clip(edge * 0.6, 0, 1))
    return mix(color, color * np.array([0.22, 0.13, 0.13], dtype=np.float32), np.clip(hole * 1.25, 0, 0.9))


def _wrinkles(person: Person, canvas: Canvas, color: Floats) -> Floats:
    if person.wrinkles < 0.15:
        return color
    marks = np.zeros(canvas.shape, dtype=np.float32)
    t = np.linspace(-1.0, 1.0, 24)
    for row, y in enumerate((-0.72, -0.88, -1.02)):
        points = np.stack([t * (0.55 - 0.05 * row), y + 0.03 * t**2 + 0.008 * np.sin(9 * t + row)], axis=1)
        marks = np.maximum(marks, line_mask(canvas, points, 0.014))
    for sign in (-1.0, 1.0):
        for spread in (-0.06, 0.02, 0.10):
            crow = np.array([[sign * 0.80, spread * 0.5], [sign * 0.95, spread * 1.6 - 0.01]])
            marks = np.maximum(marks, line_mask(canvas, crow, 0.012))
    marks = soften(marks, 0.014 * canvas.density) * person.wrinkles * 0.55
    return mix(color, color * np.array([0.6, 0.5, 0.5], dtype=np.float32), marks)


def _scars(person: Person, canvas: Canvas, color: Floats) -> Floats:
    """Draw pale lines with a red rim below the middle of the nose."""
    rng = np.random.default_rng(person.seed + 3)
    for _ in range(person.scars):
        start = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.25, 0.7), rng.uniform(0.75, 1.5)])
        end = start + rng.uniform(0.2, 0.4) * np.array([np.cos(angle := rng.uniform(0, np.pi)), np.sin(angle)])
        for width, tone in ((0.07, (0.95, 0.62, 0.60)), (0.03, (1.18, 1.12, 1.12))):
            line = soften(line_mask(canvas, np.stack([start, end]), width), 0.01 * canvas.density)
            color = mix(color, color * np.array(tone, dtype=np.float32), 0.9 * line)
    return color


def _blemishes(person: Person, canvas: Canvas, color: Floats) -> Floats:
    """Draw moles, and pores as noise of one to three pixels of a crop."""
    rng = np.random.default_rng(person.seed + 4)
    x, y = canvas.grid()
    for _ in range(person.moles):
        place, size = (rng.uniform(-0.8, 0.8), rng.uniform(0.2, 1.7)), rng.uniform(0.012, 0.03)
        dark = np.array([0.55, 0.42, 0.38], dtype=np.float32)
        color = mix(color, color * dark, np.clip(1.6 * bump(x, y, place, (size, size)), 0.0, 1.0))
    if person.skin_texture > 0.0:
        fine, coarse = (smooth_noise(rng, canvas.shape, cells) for cells in ((230, 186), (90, 73)))
        color = color * (1.0 + person.skin_texture * (0.035 * fine + 0.02 * coarse))[..., None]
    return color.astype(np.float32)


def _brows(
    person: Person, canvas: Canvas, x: Floats, y: Floats, color: Floats, light: Floats, rng: np.random.Generator
) -> Floats:
    tone = np.array(person.hair, dtype=np.float32) * 0.55 + np.array([0.05, 0.035, 0.03], dtype=np.float32)
    side = np.abs(x)
    t = np.clip((side - 0.52) / 0.36, -1.0, 1.0)
    middle = -0.33 - person.brow_arch * (1.0 - (t - 0.25) ** 2) + 0.04 - person.brow_tilt * t * 0.5 + 0.02 * t
    thickness = person.brow_thickness * (0.66 - 0.30 * t) * ramp(side, 0.12, 0.34) * (1.0 - ramp(side, 0.72, 0.93))
    body = 1.0 - ramp(np.abs(y - middle) - thickness, -0.04, 0.02)
    body = body * ramp(thickness, 0.0, 0.03)
    strands = smooth_noise(rng, (x.shape[0], x.shape[1]), (90, 170))
    amount = np.clip(soften(body.astype(np.float32), 0.8) * (0.82 + 0.07 * strands), 0.0, 0.95)
    return mix(color, tone * light, amount)


def _beard(person: Person, x: Floats, y: Floats, color: Floats, light: Floats, rng: np.random.Generator) -> Floats:
    if person.feminine:
        return color
    side, mouth = np.abs(x), person.mouth_y
    noise = smooth_noise(rng, (x.shape[0], x.shape[1]), (130, 105))
    edge = 0.03 * smooth_noise(rng, (x.shape[0], x.shape[1]), (30, 24))
    cheek = ramp(y + edge - (mouth - 0.12 - 0.9 * np.clip(side - 0.55, 0, 1)), -0.10, 0.16)
    bare = 1.0 - ramp(side + edge, person.mouth_width + 0.02, person.mouth_width + 0.16)
    bare = bare * (1.0 - ramp(y, mouth + person.lower_lip + 0.08, mouth + person.lower_lip + 0.18))
    jaw = cheek * (1.0 - bare)
    lip = bump(side, y, (0.16, mouth - person.upper_lip - 0.085), (0.20, 0.052)) * 1.5
    lip += 0.5 * bump(side, y, (person.mouth_width - 0.02, mouth - 0.04), (0.07, 0.10))
    goatee = bump(x, y, (0.0, person.chin_y - 0.18), (0.26, 0.24)) * 1.4 * (1.0 - bare)
    soul = bump(x, y, (0.0, mouth + person.lower_lip + 0.14), (0.09, 0.06))
    parts = {"none": 0.12 * (jaw + lip), "stubble": 0.48 * (jaw + lip), "full": 1.2 * (jaw + lip) + soul,
             "moustache": 1.3 * lip + 0.1 * jaw, "goatee": 1.1 * lip + 1.2 * goatee + soul}  # fmt: skip
    amount = np.clip(parts[person.beard], 0.0, 0.93)
    grain = 0.90 + 0.10 * noise if person.beard in ("full", "moustache", "goatee") else 0.85 + 0.2 * noise
    if person.skin_texture > 0.0:  # single hairs
        grain = grain + 0.25 * person.skin_texture * smooth_noise(rng, (x.shape[0], x.shape[1]), (260, 210))
    hair = person.hair if person.beard_color is None else person.beard_color
    tone = np.array(hair, dtype=np.float32) * 0.75 + np.array(person.skin, dtype=np.float32) * 0.08
    return mix(color, tone * light * (1.0 + 0.10 * noise[..., None]), np.clip(amount * grain, 0.0, 0.96))


def _ears(person: Person, x: Floats, y: Floats, light: Floats) -> tuple[Floats, Floats]:
    side = np.abs(x)
    width = person.face_width
    shape = ((side - width - 0.02 - 0.06 * (0.15 - y)) / 0.15) ** 2 + ((y - 0.18) / 0.34) ** 2
    alpha = 1.0 - ramp(np.sqrt(shape), 0.94, 1.02)
    inner = bump(side, y, (width + 0.06, 0.14), (0.045, 0.16))
    skin = np.array(person.skin, dtype=np.float32) * np.array([0.95, 0.80, 0.78], dtype=np.float32)
    color = mix(np.broadcast_to(skin, light.shape), skin * 0.6, inner * 0.7)
    lit = np.clip(soften(light, 12.0), 0.35, 2.0)
    return alpha, skin_under_light(color.astype(np.float32), lit)


def draw_glasses(person: Person, density: float) -> Layer | None:
    """Draw the glasses; return None for a person without glasses."""
    if person.glasses == "none":
        return None
    canvas = Canvas(-1.35, -0.6, 1.35, 0.7, density)
    turn = np.linspace(0.0, 2.0 * np.pi, 72, endpoint=False)
    power = {"round": 1.0, "square": 0.5, "thin": 0.7}[person.glasses]
    radius_x, radius_y = (0.38, 0.33) if person.glasses == "round" else (0.42, 0.28)
    ring_x = radius_x * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    ring_y = radius_y * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    width = 0.022 if person.glasses == "thin" else 0.045
    frame = np.zeros(canvas.shape, dtype=np.float32)
    glass = np.zeros(canvas.shape, dtype=np.float32)
    for sign in (-1.0, 1.0):
        rim = np.stack([sign * 0.52 + ring_x, 0.04 + ring_y], axis=1)
        frame = np.maximum(frame, line_mask(canvas, rim, width, closed=True))
        glass = np.maximum(glass, polygon_mask(canvas, rim))
        arm = np.array([[sign * (0.52 + radius_x), -0.06], [sign * person.face_width * 1.02, -0.10]])
        frame = np.maximum(frame, line_mask(canvas, arm, width))
    bridge = np.array([[-0.15, -0.04], [-0.07, -0.09], [0.07, -0.09], [0.15, -0.04]])
    frame = np.maximum(frame, line_mask(canvas, bridge, width))
    color = np.broadcast_to(np.array(person.glasses_color, dtype=np.float32), (*frame.shape, 3))
    image = mix(np.ones((*frame.shape, 3), dtype=np.float32), color, frame)
    return Layer.from_color(canvas, image, np.maximum(frame, 0.05 * glass))
