import numpy as np

from benchmarks.speaker_turns import SceneResult, followed_turns, is_mixed, nearest_person, table
from latentsync.face.identity import TrackedPerson
from latentsync.face.tracker import FaceTracker
from tests.unit.face.faces import detection


def truth_of(*turns, num_frames=200):
    people = {side: {"visible": [True] * num_frames} for side in ("left", "right")}
    return {"turns": [{"person": p, "start_s": a, "stop_s": b} for p, a, b in turns], "people": people}


def test_turns_count_frames_of_a_single_visible_speaker():
    truth = truth_of(("left", 0, 3), ("right", 2, 5), ("left", 5, 6))
    followed = np.array([0] * 70 + [1] * 90 + [-1] * 40)
    turns, frames = followed_turns(truth, followed)
    assert turns == [True, True]  # the last turn is too short
    assert len(frames) == 50 + 50 + 25  # the overlap has no single speaker
    assert frames.sum() == 50 + 50
    truth["people"]["right"]["visible"][75:125] = [False] * 50
    assert [len(part) for part in followed_turns(truth, followed)] == [1, 75]


def test_the_nearest_person_is_found_and_a_mixture_reported():
    places = np.stack([np.full((60, 3, 2), 100.0), np.full((60, 3, 2), 400.0)])
    anchors = places[0].copy()
    anchors[20:] = 390
    anchors[50:] = np.nan
    assert nearest_person(anchors, places).tolist() == [0] * 20 + [1] * 30 + [-1] * 10
    tracker = FaceTracker()
    for i in range(60):
        tracker.add([detection(100 if i < 40 else 130, 100)], False)
    (track,) = tracker.tracks()
    still = np.stack([np.full((60, 3, 2), 100.0), np.full((60, 3, 2), 400.0)])
    moved = still.copy()
    moved[0, 40:], moved[1, 40:] = 400.0, 130.0
    assert [is_mixed(TrackedPerson(0, (track,)), truth) for truth in (still, moved)] == [False, True]


def test_the_table_has_a_row_for_each_kind_and_all():
    results = [
        SceneResult("turns", [True, False], np.array([True, True, False, True]), False, 2),
        SceneResult("crossing", [True], np.array([True, True]), True, 3),
    ]
    lines = table(results).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["crossing", "turns", "all"]
    assert "2 of 3" in lines[-1]
    assert "0.8750" in lines[-1]
    assert [cell.strip() for cell in lines[2].split("|")[-3:-1]] == ["1", "0"]
