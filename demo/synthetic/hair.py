"""Hair: a mass behind head and neck and a mass in front of the forehead and sides, painted once per clip."""

from __future__ import annotations

import cv2
import numpy as np

from demo.synthetic.drawing import Canvas, Floats, Layer, bump, polygon_mask, ramp, smooth_noise, soften
from demo.synthetic.person import Person
from demo.synthetic.relief import head_outline, shade
from demo.synthetic.scene import Scene

LONG_STYLES = ("long", "long_wavy", "bob")


def paint_hair(person: Person, scene: Scene, density: float) -> tuple[Layer | None, Layer | None]:
    """(back, front) hair layers; None where there is none."""
    if person.hair_style == "bald":
        return None, None
    canvas = Canvas(-2.3, -2.9, 2.3, 4.4, density)
    rng = np.random.default_rng(person.seed + 1)
    x, y = canvas.grid()
    mass = _mass(person, canvas, x, y, rng)
    color = _lit_hair(person, scene, canvas, x, y, mass, rng)
    front = Layer.paint(canvas, color, mass * _opening(person, x, y, rng))
    long = is_long(person)
    back = Layer.paint(canvas, color * 0.55, mass) if long or person.hair_style in ("afro", "bun") else None
    return back, front


def is_long(person: Person) -> bool:
    """Whether hair falls beside face and neck."""
    return person.hair_style in LONG_STYLES or (person.hair_style == "fringe" and person.feminine)


def _mass(person: Person, canvas: Canvas, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Coverage of the whole hair as if there were no face in front of it."""
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
    """1 where hair is in front of the skin, 0 on the free face."""
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
    """Texture along the hair: strands leave the parting, then hang; curls where the hair is curly."""
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
