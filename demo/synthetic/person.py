"""Random identities: all attributes of a synthetic person's appearance, in face units (see drawing.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from demo.synthetic.drawing import Floats, pick, random_color

Color = tuple[float, float, float]

SKIN_TONES = np.array(
    [
        (0.97, 0.87, 0.81), (0.94, 0.80, 0.71), (0.90, 0.74, 0.63), (0.86, 0.67, 0.54), (0.80, 0.60, 0.46),
        (0.73, 0.52, 0.38), (0.64, 0.44, 0.31), (0.54, 0.36, 0.25), (0.44, 0.29, 0.20), (0.35, 0.23, 0.17),
        (0.27, 0.18, 0.14),
    ]
)  # fmt: skip
HAIR_COLORS: dict[str, Color] = {
    "black": (0.07, 0.06, 0.06), "dark brown": (0.17, 0.11, 0.08), "brown": (0.30, 0.19, 0.12),
    "light brown": (0.47, 0.33, 0.20), "blond": (0.76, 0.60, 0.36), "platinum": (0.90, 0.83, 0.68),
    "red": (0.56, 0.24, 0.11), "grey": (0.52, 0.51, 0.50), "white": (0.85, 0.84, 0.83),
}  # fmt: skip
HAIR_FREQUENCY = {
    "black": 5.0, "dark brown": 4.0, "brown": 4.0, "light brown": 3.0, "blond": 3.0, "platinum": 1.0, "red": 2.0,
    "grey": 1.5, "white": 1.0, "dyed": 1.5,
}  # fmt: skip
IRIS_COLORS: tuple[Color, ...] = (
    (0.24, 0.13, 0.07), (0.33, 0.20, 0.10), (0.44, 0.31, 0.15), (0.36, 0.41, 0.22), (0.30, 0.46, 0.40),
    (0.32, 0.47, 0.62), (0.42, 0.52, 0.60), (0.18, 0.10, 0.06),
)  # fmt: skip
STYLES_F = {
    "long": 4.0, "long_wavy": 3.0, "bob": 3.0, "bun": 2.0, "fringe": 3.0, "afro": 1.2, "short": 1.0, "bald": 0.2,
    "buzz": 0.3,
}  # fmt: skip
STYLES_M = {
    "short": 4.0, "quiff": 2.5, "buzz": 2.0, "bald": 1.5, "receding": 1.2, "fringe": 1.8, "afro": 1.0, "long": 0.6,
    "bob": 0.4,
}  # fmt: skip
BEARDS_M = {"none": 5.0, "stubble": 2.0, "full": 2.0, "moustache": 0.8, "goatee": 1.0}
CLOTHES = {"crew": 4.0, "v": 2.0, "shirt": 3.0, "turtleneck": 1.5, "suit": 1.5, "strap": 0.7}


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are in face units, colours are RGB in [0, 1], amounts are in [0, 1]."""

    seed: int
    feminine: bool
    age: float
    face_width: float
    jaw: float
    chin_width: float
    chin_y: float
    forehead: float
    skin: Color
    blush: float
    freckles: float
    wrinkles: float
    eye_length: float
    eye_height: float
    eye_tilt: float
    iris: Color
    liner: float
    shadow: Color | None
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_width: float
    nose_tip_y: float
    nose_height: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    cupid: float
    smile: float
    lip: Color
    teeth: Color
    lower_teeth: bool
    hair_style: str
    hair: Color
    hair_volume: float
    hair_length: float
    parting: float
    fringe_y: float
    beard: str
    glasses: str
    glasses_color: Color
    clothes: str
    cloth: Color
    cloth_second: Color
    cloth_pattern: str
    neck_width: float
    beard_color: Color | None = None
    """That of the hair if None."""
    scars: int = 0
    """Scars on cheeks and chin."""
    lip_softness: float = 0.0
    """Half width of the transition from lips to skin, beyond that of a drawn edge."""
    lip_gloss: float = 1.0
    teeth_light: float = 1.0
    """Brightness of the teeth: the mouth's inside gets less light than the face."""
    teeth_hidden: float = 0.0
    """Height of the upper teeth that the lip hides."""
    skin_texture: float = 0.0
    """Pores and fine hairs of the skin and of beards."""
    moles: int = 0

    @staticmethod
    def random(rng: np.random.Generator) -> Person:
        """Return a random identity."""
        feminine = bool(rng.random() < 0.5)
        age = float(rng.random())
        skin = _skin(rng)
        values: dict[str, Any] = {"seed": int(rng.integers(2**31)), "feminine": feminine, "age": age}
        values |= _face(rng, feminine, age)
        values |= {"skin": skin, "lip": _lip(rng, skin, feminine)}
        values |= _hair(rng, feminine, age)
        values |= _clothes(rng)
        return Person(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def _color(values: Floats | np.ndarray) -> Color:
    clipped = np.clip(values, 0.02, 0.98)
    return float(clipped[0]), float(clipped[1]), float(clipped[2])


def _skin(rng: np.random.Generator) -> Color:
    position = rng.uniform(0.0, len(SKIN_TONES) - 1.001)
    index = int(position)
    tone = SKIN_TONES[index] + (SKIN_TONES[index + 1] - SKIN_TONES[index]) * (position - index)
    undertone = np.array([rng.normal(0.01, 0.025), rng.normal(0.0, 0.018), rng.normal(0.03, 0.045)])
    return _color(tone * (1.0 + undertone))


def _lip(rng: np.random.Generator, skin: Color, feminine: bool) -> Color:
    natural = np.array(skin) * np.array([0.92, 0.64, 0.66]) * rng.uniform(0.9, 1.08)
    natural[0] += 0.04
    if feminine and rng.random() < 0.45:
        stick = np.array(
            ((0.72, 0.10, 0.16), (0.80, 0.30, 0.38), (0.52, 0.12, 0.22), (0.80, 0.42, 0.36))[rng.integers(4)]
        )
        natural = natural + (stick * rng.uniform(0.8, 1.1) - natural) * rng.uniform(0.4, 0.9)
    return _color(natural)


def _face(rng: np.random.Generator, feminine: bool, age: float) -> dict[str, Any]:
    made_up = feminine and rng.random() < 0.5
    return {
        "face_width": rng.normal(1.15, 0.05),
        "jaw": rng.normal(0.95 if feminine else 1.03, 0.055),
        "chin_width": float(np.clip(rng.normal(0.36 if feminine else 0.46, 0.05), 0.30, 0.58)),
        "chin_y": float(np.clip(rng.normal(1.80 if feminine else 1.88, 0.06), 1.68, 2.02)),
        "forehead": rng.normal(1.0, 0.05),
        "blush": rng.uniform(0.1, 1.0),
        "freckles": float(max(0.0, rng.uniform(-2.0, 1.0))),
        "wrinkles": float(np.clip(age**2 + rng.normal(0.0, 0.1), 0.0, 1.0)),
        "eye_length": rng.normal(0.245, 0.012),
        "eye_height": rng.normal(0.098 if feminine else 0.088, 0.012),
        "eye_tilt": rng.normal(0.06 if feminine else 0.03, 0.06),
        "iris": _color(np.array(IRIS_COLORS[rng.integers(len(IRIS_COLORS))]) * rng.uniform(0.8, 1.2)),
        "liner": rng.uniform(0.4, 1.0) if made_up else rng.uniform(0.0, 0.25),
        "shadow": _color(random_color(rng, (0.2, 0.7), 0.7)) if made_up and rng.random() < 0.5 else None,
        "brow_thickness": float(np.clip(rng.normal(0.06 if feminine else 0.085, 0.016), 0.035, 0.13)),
        "brow_arch": rng.uniform(0.02, 0.09),
        "brow_tilt": rng.normal(0.0, 0.05),
        "nose_width": float(np.clip(rng.normal(0.24 if feminine else 0.27, 0.035), 0.18, 0.37)),
        "nose_tip_y": rng.normal(0.62, 0.025),
        "nose_height": rng.uniform(0.24, 0.36),
        "mouth_y": rng.normal(1.06, 0.03),
        "mouth_width": rng.normal(0.40, 0.03),
        "upper_lip": float(np.clip(rng.normal(0.10, 0.022), 0.055, 0.16)),
        "lower_lip": float(np.clip(rng.normal(0.14, 0.025), 0.085, 0.20)),
        "cupid": rng.uniform(0.1, 0.5),
        "smile": rng.normal(0.01, 0.018),
        "teeth": _color(np.array([0.95, 0.93, 0.88]) - np.array([0.05, 0.08, 0.16]) * rng.uniform(0.0, 1.0)),
        "lower_teeth": bool(rng.random() < 0.5),
    }


def _hair(rng: np.random.Generator, feminine: bool, age: float) -> dict[str, Any]:
    name = pick(rng, HAIR_FREQUENCY)
    if age > 0.8 and rng.random() < 0.5:
        name = "grey" if rng.random() < 0.5 else "white"
    color = random_color(rng, (0.3, 0.9)) if name == "dyed" else np.array(HAIR_COLORS[name]) * rng.uniform(0.8, 1.25)
    glasses = {"none": 4.0, "round": 0.5, "square": 0.8, "thin": 0.5}
    return {
        "hair_style": pick(rng, STYLES_F if feminine else STYLES_M),
        "hair": _color(color),
        "hair_volume": rng.uniform(0.10, 0.26),
        "hair_length": rng.uniform(2.0, 4.0),
        "parting": rng.uniform(-0.6, 0.6),
        "fringe_y": rng.uniform(-0.72, -0.40),
        "beard": "none" if feminine else pick(rng, BEARDS_M),
        "glasses": pick(rng, glasses),
        "glasses_color": _color(random_color(rng, (0.02, 0.6)) if rng.random() < 0.5 else np.full(3, 0.06)),
    }


def _clothes(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "clothes": pick(rng, CLOTHES),
        "cloth": _color(random_color(rng, (0.08, 0.95))),
        "cloth_second": _color(random_color(rng, (0.1, 1.0))),
        "cloth_pattern": pick(rng, {"plain": 3.0, "stripes": 1.0, "checks": 1.0}),
        "neck_width": rng.normal(0.74, 0.06),
    }
