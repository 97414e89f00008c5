"""People who cross, come back and are cut: their tracks and their identities."""

import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.face.appearance import ColourHistograms
from latentsync.face.face_tracks import FaceTracks, track_faces
from latentsync.face.identity import identified, people_of
from latentsync.face.tracker import FaceTracker, Track, continuations, shown_in
from tests.unit.face.faces import ScriptedDetector, detection

LOOKS = {name: np.eye(4, dtype=np.float32)[i] * 0.6 for i, name in enumerate("abcd")}
EVERY = 6


def tracked(script, cuts=()):
    """Link a script of frames, each a list of (name of the person, detection)."""
    tracker = FaceTracker()
    for i, faces in enumerate(script):
        boxes = [face for _, face in faces]
        near = [any(0 < abs(face.box[0] - other.box[0]) < 130 for other in boxes) for face in boxes]
        looks = [None if close else LOOKS.get(name) for (name, _), close in zip(faces, near, strict=True)]
        tracker.add(boxes, i in cuts, looks if i % EVERY == 0 else None)
    return tracker.tracks()


def names_of(track):
    return {name for _, descriptor in track.looks for name, look in LOOKS.items() if np.array_equal(look, descriptor)}


def crossing(hidden=(), num_frames=80, speed=5.0):
    """Two people who walk past each other; in the hidden frames only one detection is left, on the wrong track."""
    script = []
    for i in range(num_frames):
        a, b = detection(100 + speed * i, 200), detection(500 - speed * i, 200)
        if i in hidden:
            # the remaining detection moves back: the tracks exchange their people
            script.append([("?", detection(100 + speed * (2 * hidden[0] - i), 200))])
        else:
            script.append([("a", a), ("b", b)])
    return script


def test_tracks_that_exchanged_their_people_are_exchanged_back():
    script = crossing(range(38, 43))
    raw = tracked(script)
    assert any(len(names_of(track)) > 1 for track in raw)
    fixed = identified(raw, ColourHistograms())
    assert all(len(names_of(track)) == 1 for track in fixed)
    people = people_of(fixed)
    assert [{name for track in person.tracks for name in names_of(track)} for person in people] == [{"a"}, {"b"}]
    assert [person.tracks[-1].last_box[0] for person in people] == pytest.approx([50 + 5 * 79, 450 - 5 * 79])


def test_a_person_hidden_behind_another_one_is_the_same_afterwards():
    script = [faces[:1] if 32 <= i < 50 else faces for i, faces in enumerate(crossing())]
    people = people_of(identified(tracked(script), ColourHistograms()))
    assert len(people) == 2
    assert [{name for track in person.tracks for name in names_of(track)} for person in people] == [{"a"}, {"b"}]
    assert [len(track) for track in people[1].tracks] == [32, 30]


def walk(*legs):
    """Return a track from legs (name of the person, first frame, frame after the last one, first x, last x)."""
    track = Track(0)
    for name, start, stop, x0, x1 in legs:
        for frame, x in zip(range(start, stop), np.linspace(x0, x1, stop - start), strict=True):
            track.append(frame, detection(x, 200), LOOKS.get(name) if frame % EVERY == 0 else None)
    return track


def test_a_track_that_begins_just_before_the_closest_frame_belongs_to_the_person_it_continues():
    exchanged = walk(("a", 0, 43, 139, 260), ("?", 43, 54, 263, 286), ("?", 54, 59, 272, 260), ("b", 59, 100, 257, 145))
    hidden = walk(("b", 0, 43, 507, 390), ("?", 43, 53, 385, 294))
    begins = walk(("?", 53, 54, 396, 396), ("?", 54, 59, 391, 400), ("a", 59, 100, 402, 499))
    people = people_of(identified([exchanged, hidden, begins], ColourHistograms()))
    assert [{name for track in person.tracks for name in names_of(track)} for person in people] == [{"a"}, {"b"}]


def test_tracks_that_meet_nobody_are_returned_unchanged():
    raw = tracked(
        [[("a", detection(100 + i, 200))] for i in range(30)] + [[]] * 12 + [[("a", detection(140, 200))]] * 20
    )
    fixed = identified(raw, ColourHistograms())
    assert [(track.frames.tolist(), track.boxes.tolist()) for track in fixed] == [
        (track.frames.tolist(), track.boxes.tolist()) for track in raw
    ]
    assert {track.person for track in fixed} == {0}
    assert len(continuations(fixed[0], fixed)) == 2


def test_a_false_detection_on_a_face_changes_no_track():
    face, mistake = detection(200, 200), detection(215, 215, 60)
    script = [[("a", face), ("a", mistake)] if 10 <= i < 18 else [("a", face)] for i in range(40)]
    raw = tracked(script)
    fixed = identified(raw, None)
    assert [track.frames.tolist() for track in fixed] == [track.frames.tolist() for track in raw]
    assert [track.boxes.tolist() for track in fixed] == [track.boxes.tolist() for track in raw]


def test_people_keep_their_identity_across_a_cut_that_exchanges_their_sides():
    first = [[("a", detection(100, 200)), ("b", detection(500, 200))]] * 20
    second = [[("c", detection(50, 200)), ("b", detection(250, 200, 140)), ("a", detection(520, 200, 90))]] * 20
    people = people_of(identified(tracked(first + second, cuts=(20,)), ColourHistograms()))
    assert [{name for track in person.tracks for name in names_of(track)} for person in people] == [{"a"}, {"b"}, {"c"}]
    assert [[track.scene for track in person.tracks] for person in people] == [[0, 1], [0, 1], [1]]
    assert shown_in(people[2].tracks, 40).tolist() == [False] * 20 + [True] * 20


def test_an_ambiguous_appearance_is_a_new_person():
    between = (LOOKS["a"] + LOOKS["b"]) / 2
    tracker = FaceTracker()
    for i in range(40):
        faces = [detection(100, 200), detection(500, 200)] if i < 20 else [detection(300, 200)]
        looks = [LOOKS["a"], LOOKS["b"]] if i < 20 else [between]
        tracker.add(faces, i == 20, looks if i % EVERY == 0 else None)
    describer = ColourHistograms()
    assert len(people_of(identified(tracker.tracks(), describer))) == 3
    describer.same = 0.0
    assert len(people_of(identified(tracked([[("a", detection(100, 200))]] * 40, cuts=(20,)), None))) == 2


class BySize(ColourHistograms):
    """Descriptors by the size of the face; none while two faces are near each other."""

    interval = EVERY

    def describe(self, frame, faces):
        sides = [face.box[2] - face.box[0] for face in faces]
        is_near = len(faces) == 2 and abs(faces[0].box[0] - faces[1].box[0]) < 130
        return [None if is_near or len(faces) < 2 else LOOKS["a" if side > 95 else "b"] for side in sides]


def test_a_selected_person_is_followed_through_a_crossing():
    frame = np.zeros((480, 640, 3), np.uint8)
    script = [[detection(100 + 5 * i, 200), detection(500 - 5 * i, 200, 90)] for i in range(80)]
    for i in range(38, 43):
        script[i] = [detection(100 + 5 * (76 - i), 200, 95)]
    tracks = track_faces([frame] * 80, ScriptedDetector(script), describer=BySize())
    sides = {round(float(box[2] - box[0])) for track in tracks.follow("left") for box in track.boxes} - {95}
    assert len(sides) == 1
    assert [person.id for person in tracks.people()] == [0, 1]


def test_the_start_of_a_video_gives_people_the_numbers_of_the_whole():
    """C comes in later, to the left of both."""
    both = [("a", detection(300, 200)), ("b", detection(600, 200))]
    script = [*[both] * 30, *[[*both, ("c", detection(50, 200))]] * 30]
    for num_frames, names in ((30, ["a", "b"]), (60, ["a", "b", "c"])):
        people = people_of(identified(tracked(script[:num_frames]), ColourHistograms()))
        assert [names_of(person.tracks[0]) for person in people] == [{name} for name in names]


def test_a_number_selects_a_person_at_every_place_and_nobody_else():
    """A and b are filmed in turns at one place, where a selector by place would follow both."""
    names = "abab"
    tracker = FaceTracker()
    for i in range(40):
        tracker.add([detection(100, 200)], i % 10 == 0, [LOOKS[names[i // 10]]])
    found = FaceTracks(identified(tracker.tracks(), ColourHistograms()), 40, (640, 480))
    for selector, scenes in (("person1", [0, 2]), ("person2", [1, 3]), ("left", [0, 1, 2, 3])):
        followed, _ = found.follow_person(selector)
        assert [track.scene for track in followed] == scenes
        assert found.follow(selector) == followed
    for follow in (found.follow, found.follow_person):
        with pytest.raises(InputError, match="face 'person3' matches none of the faces"):
            follow("person3")
