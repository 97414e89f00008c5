"""People and scenes of more variety than those of `Person.random`: closer to what cameras record of real people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demo.synthetic.drawing import pick, random_color
from demo.synthetic.person import Color, Person
from demo.synthetic.scene import Scene

_BEARDS = {"none": 4.0, "stubble": 4.0, "full": 2.0, "moustache": 1.0, "goatee": 1.0}


def varied_person(rng: np.random.Generator) -> Person:
    """Return a random person whose lips, teeth, skin and proportions vary more than those of `Person.random`."""
    person = Person.random(rng)
    wide = float(np.clip(rng.normal(0.43, 0.045), 0.33, 0.56))
    jaw = float(np.clip(rng.normal(0.90 if person.feminine else 0.97, 0.07), 0.76, 1.1))
    return replace(
        person,
        face_width=float(rng.normal(1.10, 0.07)),
        jaw=jaw,
        chin_width=float(np.clip(rng.normal(0.36, 0.07), 0.24, 0.56)),
        chin_y=float(np.clip(rng.normal(1.76, 0.10), 1.55, 2.02)),
        mouth_y=float(rng.normal(1.02, 0.045)),
        mouth_width=wide,
        upper_lip=float(np.clip(rng.normal(0.085, 0.03), 0.035, 0.17)),
        lower_lip=float(np.clip(rng.normal(0.125, 0.035), 0.06, 0.22)),
        smile=float(rng.normal(0.015, 0.03)),
        wrinkles=float(np.clip(rng.uniform(-0.3, 1.0), 0.0, 1.0)),
        blush=float(rng.uniform(0.0, 0.6)),
        lip=_lip(rng, person),
        lip_softness=float(rng.uniform(0.0, 0.035)),
        lip_gloss=float(rng.uniform(0.0, 1.0)),
        teeth_light=float(rng.uniform(0.55, 1.0)),
        teeth_hidden=float(max(0.0, rng.uniform(-0.04, 0.045))),
        beard="none" if person.feminine else pick(rng, _BEARDS),
        skin_texture=float(rng.uniform(0.0, 1.0)),
        moles=int(rng.integers(0, 4)),
    )


def _lip(rng: np.random.Generator, person: Person) -> Color:
    """Return lips of the skin's colour, slightly darker and redder, or those of `Person.random`."""
    if rng.random() < 0.3:
        return person.lip
    red = rng.uniform(0.15, 1.0)
    tint = np.array([1.0, 0.98 - 0.36 * red, 0.96 - 0.30 * red])
    r, g, b = np.clip(np.array(person.skin) * rng.uniform(0.72, 1.0) * tint, 0.02, 0.98)
    return float(r), float(g), float(b)


def varied_scene(rng: np.random.Generator) -> Scene:
    """Return a random scene whose light is harder, more coloured and lower or higher than that of `Scene.random`."""
    scene = Scene.random(rng)
    side, height = rng.normal(0.0, 0.8), rng.normal(-0.35, 0.45)
    light = np.array([side, height, rng.uniform(0.4, 1.2)])
    light /= np.linalg.norm(light)
    strength = rng.uniform(0.35, 0.85)
    colored = 0.5 if rng.random() < 0.15 else 0.18
    key = random_color(rng, (1.0, 1.2), colored) * strength
    ambient = random_color(rng, (1.0, 1.2), 0.7 * colored) * (1.13 - strength)
    exposure = rng.uniform(0.8, 1.15)
    triple = [tuple(float(v) for v in values) for values in (light, key * exposure, ambient * exposure)]
    return replace(
        scene, light=triple[0], key=triple[1], ambient=triple[2],
        saturation=float(rng.uniform(0.6, 1.2)), gamma=float(np.exp(rng.normal(0.0, 0.18))),
    )  # fmt: skip
