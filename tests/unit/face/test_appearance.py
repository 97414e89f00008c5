"""Descriptors of appearance: colour histograms of hair, face and shoulders."""

import numpy as np
import pytest

from latentsync.face.appearance import ColourHistograms, clear_faces
from tests.unit.face.faces import detection

HAIR, SKIN, SHIRT = (60, 40, 30), (220, 170, 140), (30, 60, 160)
BLONDE, DARK_SKIN, RED = (220, 190, 110), (120, 80, 60), (170, 30, 40)


def frame_of(*people, size=(320, 480)):
    """Draw people as three rectangles of colour; a person is (x of the face's centre, hair, skin, shirt)."""
    frame = np.full((*size, 3), 128, np.uint8)
    for x, hair, skin, shirt in people:
        frame[60:112, x - 40 : x + 40] = hair
        frame[112:190, x - 40 : x + 40] = skin
        frame[190:, x - 80 : x + 80] = shirt
    return frame


def look(frame, x, side=90.0):
    (found,) = ColourHistograms().describe(frame, [detection(x, 150, side)])
    assert found is not None
    return found


def test_the_same_person_is_nearer_than_another_one_in_other_light_and_at_another_place():
    here = look(frame_of((150, HAIR, SKIN, SHIRT)), 150)
    there = look((frame_of((320, HAIR, SKIN, SHIRT)) * 0.7).astype(np.uint8), 320)
    other = look(frame_of((150, BLONDE, DARK_SKIN, RED)), 150)
    assert here.dtype == np.float32
    assert np.linalg.norm(here - there) < ColourHistograms.same < np.linalg.norm(here - other) <= 1


def test_a_different_shirt_alone_is_a_difference():
    first = look(frame_of((150, HAIR, SKIN, SHIRT)), 150)
    second = look(frame_of((150, HAIR, SKIN, RED)), 150)
    assert np.linalg.norm(first - second) > 0.2


@pytest.mark.parametrize(("distance", "is_clear"), [(60, False), (200, True)])
def test_a_face_that_another_one_reaches_into_is_not_described(distance, is_clear):
    faces = [detection(150, 150), detection(150 + distance, 150)]
    assert clear_faces(faces) == [is_clear, is_clear]
    found = ColourHistograms().describe(frame_of((150, HAIR, SKIN, SHIRT)), faces)
    assert [descriptor is not None for descriptor in found] == [is_clear, is_clear]


def test_a_face_whose_hair_or_shoulders_lie_outside_the_frame_is_not_described():
    frame = frame_of((150, HAIR, SKIN, SHIRT))
    assert ColourHistograms().describe(frame, [detection(150, 280)]) == [None]
