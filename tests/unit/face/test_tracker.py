import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.face.tracker import (
    MAX_GAP,
    SHORTEST_TRACK,
    FaceTracker,
    SeveralPeopleError,
    continuations,
    parse_selector,
    select_track,
)
from tests.unit.face.faces import FRAME_SIZE, detection


def tracked(script, cuts=()):
    tracker = FaceTracker()
    for i, faces in enumerate(script):
        tracker.add(faces, i in cuts)
    return tracker.tracks()


def test_two_moving_faces_keep_their_tracks_whatever_the_order():
    script = []
    for i in range(20):
        faces = [detection(100 + 4 * i, 200), detection(400 - 4 * i, 200, 120)]
        script.append(faces if i % 2 else faces[::-1])
    first, second = sorted(tracked(script), key=lambda track: track.area)
    assert len(first) == len(second) == 20
    assert np.allclose(first.anchors[:, 2, 0], 100 + 4 * np.arange(20))
    assert np.allclose(second.boxes[:, 2], 460 - 4 * np.arange(20))
    assert first.frames.tolist() == list(range(20))


@pytest.mark.parametrize(("gap", "num_tracks"), [(MAX_GAP, 1), (MAX_GAP + 1, 2)])
def test_a_gap_is_bridged_up_to_its_limit(gap, num_tracks):
    tracks = tracked([[detection(100, 100)]] * 10 + [[]] * gap + [[detection(105, 100)]] * 10)
    assert len(tracks) == num_tracks


def test_a_cut_ends_the_track_of_a_face_that_stays():
    tracks = tracked([[detection(100, 100)]] * 20, cuts=(12,))
    assert [track.frames.tolist() for track in tracks] == [list(range(12)), list(range(12, 20))]
    assert [track.scene for track in tracks] == [0, 1]


def test_a_jump_begins_a_new_track():
    assert len(tracked([[detection(100, 100)]] * 10 + [[detection(400, 300)]] * 10)) == 2


def test_a_short_false_track_is_dropped_except_in_a_short_scene():
    face, mistake = detection(300, 200), detection(50, 50, 30)
    tracks = tracked([[face, mistake]] * (SHORTEST_TRACK - 1) + [[face]] * 10)
    assert len(tracks) == 1
    assert len(tracked([[face]] * 2)) == 1


@pytest.fixture
def three_people():
    """From the left: small, large, medium, and a speck too small to be selected."""
    faces = [detection(100, 200, 60), detection(320, 200, 160), detection(550, 200, 100), detection(600, 50, 20)]
    return tracked([faces] * 10)


@pytest.mark.parametrize(
    ("selector", "centre"),
    [
        ("largest", 320),
        ("left", 100),
        ("right", 550),
        ("0", 100),
        ("1", 320),
        ("2", 550),
        ("560,210", 550),
        ("605,52", 600),
    ],
)
def test_selectors(three_people, selector, centre):
    track = select_track(three_people, selector, FRAME_SIZE)
    assert track is not None
    assert track.centre[0] == centre


@pytest.mark.parametrize("selector", ["3", "10,400"])
def test_a_selector_may_match_no_track(three_people, selector):
    assert select_track(three_people, selector, FRAME_SIZE) is None


def test_a_person_who_comes_back_counts_once():
    left, right = detection(100, 200), detection(500, 200)
    tracks = tracked([[left, right]] * 20 + [[right]] * 20 + [[left, right]] * 10)
    assert len(tracks) == 3
    chosen = select_track(tracks, "1", FRAME_SIZE)
    assert chosen is not None
    assert chosen.centre[0] == 500
    first = select_track(tracks, "left", FRAME_SIZE)
    assert first is not None
    assert [len(part) for part in continuations(first, tracks)] == [20, 10]


@pytest.mark.parametrize(
    "selector", ["", "middle", "-1", "1,2,3", "a,b", "nan,3", "640,10", "-1,5", "1.5", "person", "person0"]
)
def test_invalid_selectors_are_reported_in_one_line(selector):
    with pytest.raises(InputError, match=r"^face .*") as error:
        select_track([], selector, FRAME_SIZE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("num_frames", "side", "is_person"), [(30, 100, True), (5, 100, False), (30, 30, False)])
def test_only_refuses_a_second_person_but_no_short_or_tiny_face(num_frames, side, is_person):
    tracks = tracked([[detection(150, 200), *([detection(450, 200, side)] * (i < num_frames))] for i in range(40)])
    if is_person:
        with pytest.raises(SeveralPeopleError, match="2 people are in one scene: choose one with --face"):
            select_track(tracks, "only", FRAME_SIZE)
    else:
        assert select_track(tracks, "only", FRAME_SIZE) is select_track(tracks, "largest", FRAME_SIZE)


def test_only_accepts_a_person_who_comes_back():
    tracks = tracked([[detection(200, 200)]] * 30 + [[]] * (MAX_GAP + 5) + [[detection(205, 200)]] * 20)
    assert len(tracks) == 2
    assert select_track(tracks, "only", FRAME_SIZE) is tracks[0]


def test_a_person_is_selected_by_number(three_people):
    for track, number in zip(three_people, (1, 0, 1), strict=False):
        track.person = number
    chosen = [select_track(three_people, selector, FRAME_SIZE) for selector in ("person1", "person2", "person3")]
    numbers = [None if track is None else track.person for track in chosen]
    assert numbers == [0, 1, None]
    assert str(parse_selector("person12")) == "person12"
