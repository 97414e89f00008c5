"""People whose look lies outside that of the training: odd lips and teeth, scars, beards in other colours."""

from dataclasses import replace

import numpy as np

from demo.synthetic.person import Color, Person

_LIPS: tuple[Color, ...] = (
    (0.20, 0.24, 0.42), (0.16, 0.08, 0.10), (0.55, 0.33, 0.58), (0.86, 0.74, 0.70), (0.30, 0.36, 0.26),
)  # fmt: skip
_BEARDS: tuple[Color, ...] = ((0.15, 0.30, 0.55), (0.70, 0.18, 0.12), (0.88, 0.86, 0.80), (0.20, 0.42, 0.24))
_TEETH: tuple[Color, ...] = ((0.72, 0.62, 0.34), (0.52, 0.47, 0.42), (0.94, 0.92, 0.86))


def odd_person(seed: int, index: int) -> Person:
    """Return a random person with lips, teeth, scars and, for every second one, a beard that no random person has."""
    rng = np.random.default_rng([seed, index, 9])
    person = Person.random(rng)
    bearded = index % 2 == 0
    return replace(
        person,
        feminine=not bearded,
        lip=_LIPS[rng.integers(len(_LIPS))],
        teeth=_TEETH[rng.integers(len(_TEETH))],
        upper_lip=float(rng.choice([0.035, 0.185])),
        lower_lip=float(rng.choice([0.06, 0.235])),
        scars=int(rng.integers(1, 4)),
        beard=str(rng.choice(["full", "goatee", "moustache"])) if bearded else "none",
        beard_color=_BEARDS[rng.integers(len(_BEARDS))] if bearded else None,
    )
