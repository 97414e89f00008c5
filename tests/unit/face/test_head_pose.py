import numpy as np
import pytest

from demo.synthetic.person import Person
from demo.synthetic.renderer import State
from demo.synthetic.renderer import anchors as synthetic_anchors
from latentsync.face.head_pose import NOSE_DEPTH_68_POINTS, turn_strength, yaw_degrees
from latentsync.face.mtcnn import anchors_from_five

# Means of points of the 3D face meanshape_68 of insightface 2.1, made symmetric: x right, y down, z towards the viewer.
LEFT_BROW, RIGHT_BROW = (-0.3071, -0.4684, 0.3616), (0.3071, -0.4684, 0.3616)  # points 17-21, 22-26
LEFT_EYE, RIGHT_EYE = (-0.2658, -0.3172, 0.3148), (0.2658, -0.3172, 0.3148)  # points 36-41, 42-47
NOSE, NOSE_TIP = (0.0, -0.0831, 0.4922), (0.0, -0.1426, 0.5987)  # points 27-35, 30


def image_of(points, yaw, pitch=0.0, roll=0.0):
    """Return the image (n, 2) of 3D points after turns in degrees; a positive yaw turns the nose to the right."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (np.array(points) @ (about_z @ about_x @ about_y).T)[:, :2] * 200 + 300


def five_point_anchors(yaw, pitch=0.0, roll=0.0):
    return anchors_from_five(image_of([LEFT_EYE, RIGHT_EYE, NOSE_TIP], yaw, pitch, roll))


@pytest.mark.parametrize("yaw", [-60, -35, -15, 0, 10, 30, 50, 70])
@pytest.mark.parametrize("roll", [-15, 0, 25])
def test_yaw_of_a_mean_3d_face_from_five_points(yaw, roll):
    found = yaw_degrees(five_point_anchors(yaw, 0, roll)[None])
    assert found.shape == (1,)
    assert abs(found[0] - yaw) < 1


@pytest.mark.parametrize("yaw", [-45, -30, 0, 30, 45])
@pytest.mark.parametrize(("pitch", "error"), [(-15, 3), (8, 5)])
def test_a_nodding_head_changes_the_yaw_by_a_few_degrees(yaw, pitch, error):
    assert abs(yaw_degrees(five_point_anchors(yaw, pitch)[None])[0] - yaw) < error


@pytest.mark.parametrize("yaw", [-40, 0, 25, 60])
def test_yaw_of_a_mean_3d_face_from_68_points(yaw):
    anchors = image_of([LEFT_BROW, RIGHT_BROW, NOSE], yaw)
    assert abs(yaw_degrees(anchors[None], NOSE_DEPTH_68_POINTS)[0] - yaw) < 1


def test_yaw_does_not_depend_on_size_and_place_and_is_nan_without_a_face():
    anchors = np.stack([five_point_anchors(30.0), 3 * five_point_anchors(30.0) - 400, np.full((3, 2), np.nan)])
    yaw = yaw_degrees(anchors)
    assert yaw[1] == pytest.approx(yaw[0], abs=1e-2)
    assert np.isnan(yaw[2])


def test_the_yaw_of_rendered_people_has_the_sign_and_order_of_their_turns():
    for seed in range(10):
        person = Person.random(np.random.default_rng(seed))
        turns = [-0.24, -0.12, 0.0, 0.06, 0.24]
        yaw = yaw_degrees(np.stack([synthetic_anchors(person, State(turn=(turn, 0.05))) for turn in turns]))
        assert (np.diff(yaw) > 2).all()
        assert abs(yaw[2]) < 0.5


def strength_of(yaw, max_yaw=30.0, segments=None, fps=25.0):
    yaw = np.asarray(yaw, dtype=np.float32)
    return turn_strength(yaw, [(0, len(yaw))] if segments is None else segments, max_yaw, fps)


def lengths(values):
    """Return the lengths of the runs of equal values."""
    changes = np.flatnonzero(np.diff(values)) + 1
    return np.diff([0, *changes, len(values)])


def test_a_turn_fades_over_four_frames_outside_the_limit():
    strength = strength_of([0.0] * 30 + [45.0] * 20 + [-2.0] * 30)
    assert (strength[30:50] == 0).all()
    assert strength[25:31] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    assert strength[49:55] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert (strength[:26] == 1).all()
    assert (strength[54:] == 1).all()


def test_both_directions_count_and_below_the_limit_nothing_changes():
    assert (strength_of([-45.0] * 20) == 0).all()
    assert (strength_of([29.9, -29.9] * 20) == 1).all()


def test_fades_last_as_long_at_other_frame_rates():
    strength = strength_of([0.0] * 60 + [45.0] * 60, fps=50)
    assert ((strength > 0) & (strength < 1)).sum() == 8
    assert ((strength_of([0.0] * 20 + [45.0] * 20, fps=10) % 1) > 0).sum() == 4


def test_hysteresis_holds_between_the_limits():
    yaw = np.array([0.0] * 20 + [31.0] + [28.0] * 40 + [26.9] * 40)
    assert (strength_of(yaw)[20:61] == 0).all()
    assert (strength_of(yaw)[65:] == 1).all()
    assert (strength_of([28.0] * 40) == 1).all()


def test_a_short_turn_is_extended_and_a_short_return_skipped():
    glance = strength_of([0.0] * 30 + [60.0] * 2 + [0.0] * 30)
    assert (glance == 0).sum() == 12
    assert (glance[30:32] == 0).all()
    back = strength_of([60.0] * 20 + [0.0] * 11 + [60.0] * 20)
    assert (back == 0).all()
    assert strength_of([60.0] * 20 + [0.0] * 12 + [60.0] * 20).max() == 1


@pytest.mark.parametrize("seed", range(8))
def test_random_yaw_near_the_limit_never_flickers(seed):
    noise = np.random.default_rng(seed).normal(0, 1, 600)
    yaw = 30 + 6 * np.convolve(noise, np.ones(9) / 3, mode="same")
    strength = strength_of(yaw)
    assert np.abs(np.diff(strength)).max() < 0.2001
    assert (strength[yaw > 30] == 0).all()
    states = lengths(strength == 0)
    assert len(states) > 2
    assert states.min() >= 12
    for start, stop in zip(np.cumsum([0, *states[:-1]]), np.cumsum(states), strict=True):
        assert strength[start:stop].max() in (0, 1)


def test_a_turn_at_the_beginning_or_end_of_a_segment():
    late = strength_of([0.0] * 4 + [50.0] * 20)
    assert (late == 0).all()  # four frames are too few to fade out
    assert (strength_of([50.0] + [0.0] * 40)[:12] == 0).all()
    assert (strength_of([0.0] * 40 + [50.0])[-12:] == 0).all()
    assert (strength_of([0.0] * 3 + [50.0]) == 0).all()


def test_segments_do_not_affect_each_other_and_frames_without_a_face_have_strength_1():
    yaw = np.array([0.0] * 20 + [np.nan] * 5 + [50.0] * 20 + [0.0] * 20)
    strength = strength_of(yaw, segments=[(0, 20), (25, 45), (45, 65)])
    assert (strength[:25] == 1).all()
    assert (strength[25:45] == 0).all()
    assert (strength[45:] == 1).all()
