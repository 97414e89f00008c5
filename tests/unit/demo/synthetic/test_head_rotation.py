"""Rendered head turns: the rotation of a drawn face, and scenes in which one person turns the head."""

import numpy as np
import pytest

from demo.synthetic.head_rotation import MAX_YAW_DEGREES, rotated, unrotated
from demo.synthetic.people_scene import PeopleScene
from demo.synthetic.person import Person
from demo.synthetic.renderer import State, anchors
from latentsync.face.head_pose import yaw_degrees

SILENCE = {person: np.zeros(0, dtype=np.float32) for person in range(2)}


def scene_of(index: int, turn_degrees: float | None, seconds: float = 4.0) -> PeopleScene:
    return PeopleScene(2, index, "turns", seconds, SILENCE, (384, 216), turn_degrees)


@pytest.mark.parametrize("yaw", [-MAX_YAW_DEGREES, -10.0, 25.0, MAX_YAW_DEGREES])
def test_the_rotation_keeps_the_order_of_points_and_is_inverted(yaw: float) -> None:
    x, y = (values.ravel().astype(np.float32) for values in np.meshgrid(np.linspace(-2, 2, 81), np.linspace(-2, 2, 9)))
    moved = rotated(np.stack([x, y], axis=1), yaw)
    assert (np.diff(moved[:, 0].reshape(9, 81), axis=1) > 0).all()
    assert np.abs(unrotated(moved[:, 0], y, yaw) - x).max() < 1e-3
    assert rotated(moved, 0.0) is moved


@pytest.mark.parametrize("yaw", [-MAX_YAW_DEGREES, -20.0, 30.0, MAX_YAW_DEGREES])
def test_the_anchors_of_rotated_people_have_their_yaw(yaw: float) -> None:
    people = [Person.random(np.random.default_rng(seed)) for seed in range(20)]
    read = yaw_degrees(np.stack([anchors(person, State(yaw_degrees=yaw)) for person in people]))
    assert np.abs(read - yaw).max() < 1.5


def test_one_person_turns_and_everything_else_stays() -> None:
    for index in range(2):
        plain, turned = scene_of(index, None), scene_of(index, 35.0)
        turn = turned.head_turn
        assert turn is not None
        assert plain.head_turn is None
        assert 1.0 <= turn.stop_s - turn.start_s <= 2.0
        difference = turned.truth[turn.person].yaw - plain.truth[turn.person].yaw
        times = np.arange(100) / 25
        held = (times >= turn.start_s) & (times <= turn.stop_s)
        away = (times < turn.start_s - 0.4) | (times > turn.stop_s + 0.4)
        assert np.abs(np.abs(difference[held]) - 35).max() < 6
        assert (np.sign(difference[held]) == np.sign(turn.yaw_degrees)).all()
        assert (difference[away] == 0).all()
        assert (turned.truth[1 - turn.person].yaw == plain.truth[1 - turn.person].yaw).all()
        frames = [int(np.flatnonzero(held)[5]), int(np.flatnonzero(away)[0])]
        (shown, before), (usual, same) = (list(one.frames(frames, supersample=1.0)) for one in (turned, plain))
        assert (before == same).all()
        middle = slice(0, 192) if turn.person == 1 else slice(192, None)
        assert (shown[:, middle] == usual[:, middle]).all()
        assert (shown != usual).any(axis=-1).sum() > 500
    assert len({scene_of(index, 35.0).head_turn.person for index in range(8)}) == 2  # type: ignore[union-attr]


def test_the_greatest_motion_without_a_rotation_reads_little() -> None:
    """`clip.VARIED_TURNS` states it."""
    people = [Person.random(np.random.default_rng(seed)) for seed in range(20)]
    read = yaw_degrees(
        np.stack([anchors(person, State(turn=(0.36, pitch))) for person in people for pitch in (0.0, -0.12)])
    )
    assert 10 < read[::2].max() < 11
    assert 13 < read.max() < 14
