"""Mouth opening and width from 68 landmarks: by hand, and for the drawn mouths of the demo's people."""

import numpy as np
import pytest

from demo.synthetic.face_parts import EYE_X, mouth_shape
from demo.synthetic.person import Person
from latentsync.errors import InputError
from latentsync.judges.landmark_mouth import LandmarkMouthReader, mouths_from_68


def face(gap: float = 0.0, corners: float = 80.0, scale: float = 1.0, angle: float = 0.0) -> np.ndarray:
    """Landmarks (68, 2) of a face whose eye centres are 100 px apart, enlarged and turned about the origin."""
    points = np.zeros((68, 2))
    for first, x in ((36, -50.0), (42, 50.0)):
        outline = np.array([[-14, 0], [-6, -5], [6, -5], [14, 0], [6, 5], [-6, 5]])
        points[first : first + 6] = outline + np.array([x, 0])
    points[48], points[54] = (-corners / 2, 100), (corners / 2, 100)
    for upper, lower, x in ((61, 67, -12.0), (62, 66, 0.0), (63, 65, 12.0)):
        points[upper], points[lower] = (x, 100 - gap / 4), (x, 100 + 3 * gap / 4)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T


@pytest.mark.parametrize(
    ("points", "opening", "width"),
    [
        (face(), 0.0, 0.5),
        (face(gap=15.25, corners=76.8), 0.5, 0.5),  # 15.25 / 100 / 0.305; 0.8 (1 - 0.08 / 2)
        (face(gap=15.25, corners=76.8, scale=0.4, angle=0.5), 0.5, 0.5),
        (face(corners=88.4), 0.0, 0.75),  # (0.884 / 0.8 - 1) / 0.42 = 0.25
        (face(gap=60.0, corners=30.0), 1.0, 0.0),
    ],
)
def test_golden_faces(points: np.ndarray, opening: float, width: float):
    np.testing.assert_allclose(mouths_from_68(points[None]), [[opening, width]], atol=1e-6)


def test_the_scale_is_that_of_the_demo_people():
    """Landmarks are read off the curves that draw a mouth of known opening and width."""
    truth = np.array([[o, w] for o in (0.0, 0.25, 0.5, 0.9) for w in (0.2, 0.5, 0.8)])
    read = np.concatenate([mouths_from_68(drawn(opening, width)[None]) for opening, width in truth])
    np.testing.assert_allclose(read, truth, atol=0.04)


def drawn(opening: float, width: float) -> np.ndarray:
    person = Person.random(np.random.default_rng(3))
    columns = np.array([[-0.38, 0.0, 0.38]])
    half = mouth_shape(person, opening, width, columns).half_width
    shape = mouth_shape(person, opening, width, columns * half)
    points = face() / 100 * [2 * EYE_X, 2 * EYE_X]
    scale = person.mouth_width / 0.40  # the rule is that of the mean person
    for index, (upper, lower) in enumerate(((61, 67), (62, 66), (63, 65))):
        x = columns[0, index] * half
        points[upper], points[lower] = (x, shape.inner_top[0, index]), (x, shape.inner_bottom[0, index])
    points[48], points[54] = (-half / scale, person.mouth_y), (half / scale, person.mouth_y)
    return points


class Networks:
    """Finds the brightest pixel of a crop, and places the lips by it."""

    def __init__(self, gap: float = 0.0) -> None:
        self.seen: list[tuple[tuple[int, ...], np.ndarray]] = []
        self.gap = gap

    def boxes(self, images):
        raise AssertionError("the crops have a template: no face is searched")

    def landmarks(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.seen.append((frame.shape, boxes))
        return face(self.gap * float(frame.max()))[None]


def test_crops_are_read_in_the_proportions_of_a_face():
    networks = Networks(gap=0.1)
    crops = np.stack([np.full((128, 128, 3), level, np.uint8) for level in (0, 61)])
    mouths = LandmarkMouthReader(networks)(crops)
    np.testing.assert_allclose(mouths[:, 0], [0.0, 0.2], atol=1e-6)
    shape, box = networks.seen[0]
    assert shape == (140, 105, 3), "210 x 280 of 256 pixels"
    assert box.tolist() == [[0, 0, 105, 140, 1]]


def test_landmarks_that_are_no_numbers():
    with pytest.raises(InputError, match="finds no face"):
        LandmarkMouthReader(Networks(gap=float("nan")))(np.zeros((1, 64, 64, 3), np.uint8))
