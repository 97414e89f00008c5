"""Rendered images depend on person, scene and state alone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from demo.synthetic.face_parts import MouthRenderer, mouth_shape
from demo.synthetic.head import draw_head
from demo.synthetic.person import Person
from demo.synthetic.renderer import Renderer, State, anchors
from demo.synthetic.scene import Scene

CLOSE_UP = np.array([[0.9, 0.0, -166.0], [0.0, 0.9, -140.0]], dtype=np.float32)
SIZE = (128, 160)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    rng = np.random.default_rng(5)
    person = replace(Person.random(rng), hair_style="short", beard="none", glasses="none", teeth=(0.95, 0.95, 0.9))
    return Renderer(person, Scene.random(rng), density=60.0)


def mouth_box(renderer: Renderer) -> tuple[slice, slice]:
    """Return the rows and columns of lips and mouth in the image."""
    center = np.array([0.0, renderer.person.mouth_y]) * 60 + np.array([256.0, 220.0])
    x, y = CLOSE_UP[:, :2] @ center + CLOSE_UP[:, 2]
    return slice(int(y) - 12, int(y) + 26), slice(int(x) - 30, int(x) + 30)


def test_equal_arguments_give_equal_images(renderer: Renderer) -> None:
    state = State(opening=0.4, blink=0.3, turn=(0.05, 0.0))
    again = Renderer(renderer.person, renderer.scene, density=60.0)
    first, second = (r.render(state, CLOSE_UP, SIZE) for r in (renderer, again))
    assert first.shape == (160, 128, 3)
    assert first.dtype == np.uint8
    assert (first == second).all()


def test_other_people_look_different(renderer: Renderer) -> None:
    other = Renderer(Person.random(np.random.default_rng(6)), renderer.scene, density=60.0)
    first, second = (r.render(State(), CLOSE_UP, SIZE).astype(int) for r in (renderer, other))
    assert np.abs(first - second).mean() > 8


def test_opening_changes_mouth_and_jaw_but_not_the_eyes(renderer: Renderer) -> None:
    shut, wide = (renderer.render(State(opening=o), CLOSE_UP, SIZE).astype(int) for o in (0.0, 0.9))
    change = np.abs(shut - wide).max(axis=2)
    rows, columns = mouth_box(renderer)
    assert (change[rows, columns] > 30).sum() > 100
    assert change[: rows.start - 12].max() <= 2


def test_an_opening_mouth_shows_its_dark_inside_and_teeth(renderer: Renderer) -> None:
    mouth = MouthRenderer(renderer.person, draw_head(renderer.person, renderer.scene, 60.0), 100.0)
    dark, bright = [], []
    for opening in (0.0, 0.4, 0.8):
        image = mouth.draw(opening, 0.5).image.astype(float)
        inside = image[..., 3] > 250
        level = image[..., :3].max(axis=2)
        grey = image[..., :3].min(axis=2) / np.maximum(level, 1)
        dark.append((inside & (level < 70)).sum())
        bright.append((inside & (level > 110) & (grey > 0.8)).sum())
    assert dark[2] > dark[0] + 100, dark
    assert bright[1] > bright[0] + 50


def test_a_wide_mouth_is_wider(renderer: Renderer) -> None:
    x = np.zeros((1, 1), dtype=np.float32)
    narrow, neutral, wide = (mouth_shape(renderer.person, 0.2, w, x).half_width for w in (0.0, 0.5, 1.0))
    assert narrow < neutral < wide


def test_blinking_hides_the_iris(renderer: Renderer) -> None:
    opened, closed = (renderer.render(State(blink=b), CLOSE_UP, SIZE).astype(int) for b in (0.0, 1.0))
    rows, _ = mouth_box(renderer)
    change = np.abs(opened - closed).max(axis=2)
    assert (change[: rows.start - 20] > 40).sum() > 20
    assert change[rows].max() <= 2


def test_anchors_of_an_upright_head() -> None:
    person = Person.random(np.random.default_rng(1))
    head = np.array([[50.0, 0.0, 100.0], [0.0, 50.0, 80.0]], dtype=np.float32)
    expected = [[100 - 29.5, 80 - 16.0], [100 + 29.5, 80 - 16.0], [100.0, 80 + 50 * (person.nose_tip_y - 0.03)]]
    np.testing.assert_allclose(anchors(person, State(head=head)), expected, atol=1e-3)


def test_the_picture_follows_the_anchors(renderer: Renderer) -> None:
    """Moving and turning the head moves pupils, drawn as the darkest discs, along with the anchors' frame."""
    angle = 0.15
    turn = 60.0 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = State(head=np.column_stack([turn, [262.0, 214.0]]).astype(np.float32))
    for state in (State(), moved):
        picture = cv2.cvtColor(renderer.render(state, CLOSE_UP, SIZE), cv2.COLOR_RGB2GRAY)
        for eye_x in (-0.5, 0.5):
            place = state.head[:, :2] @ np.array([eye_x, -0.012]) + state.head[:, 2]
            x, y = CLOSE_UP[:, :2] @ place + CLOSE_UP[:, 2]
            window = picture[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5].astype(float)
            weight = np.clip(window.min() + 25 - window, 0, None)
            rows, columns = np.mgrid[-4:5, -4:5]
            assert abs((weight * columns).sum() / weight.sum()) < 1.5
            assert abs((weight * rows).sum() / weight.sum()) < 1.8
