"""People of unusual looks, for the measurement of adaptations."""

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.odd_person import odd_person


def test_odd_people_are_reproducible_and_look_different() -> None:
    people = [odd_person(91, index) for index in range(10)]
    assert people[3] == odd_person(91, 3)
    assert all(person.scars > 0 for person in people)
    assert sum(person.beard != "none" for person in people) == 5
    assert not any(0.055 <= person.upper_lip <= 0.16 for person in people), "the range of random people"


def test_scars_and_beards_are_drawn() -> None:
    silence = np.zeros(640, dtype=np.float32)
    odd = odd_person(91, 0)
    plain = TalkingClip(91, 0, 0.04, silence, person=odd_person(91, 0))
    for name, value in (("scars", 0), ("beard_color", None), ("lip", odd.skin)):
        changed = TalkingClip(91, 0, 0.04, silence, person=type(odd)(**{**odd.as_dict(), name: value}))
        assert np.abs(next(plain.crops(96)).astype(int) - next(changed.crops(96))).max() > 20, name
