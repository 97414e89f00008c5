"""Which speech drives which person: voices, their files, and the people that they select."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.audio.sample_source import ArraySamples
from latentsync.errors import ConfigError, InputError
from latentsync.face.appearance import ColourHistograms
from latentsync.face.detection import Detection
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.identity import identified
from latentsync.face.tracker import FaceTracker, Track
from latentsync.pipelines.lipsync_job import OpenVoice
from latentsync.pipelines.people import BY_PLACE, select_people
from latentsync.pipelines.voices import EVERYONE, SPEAKER, Voice, Voices


def test_pairs_name_people_and_files():
    voices = Voices.parse(["left=a.wav", " 1 = b=c.wav", "10,20=d e.wav"], Path("folder"))
    assert [voice.face for voice in voices.voices] == ["left", "1", "10,20"]
    assert voices.speeches == [Path("folder/a.wav"), Path("folder/b=c.wav"), Path("folder/d e.wav")]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["a.wav"], "write face=file"),
        (["left="], "write face=file"),
        (["=a.wav"], "write face=file"),
        (["somebody=a.wav"], "'somebody' is unknown"),
        (["left=a.wav", "left=b.wav"], "'left' has 2 voices"),
        (["all=a.wav", "left=b.wav"], "leave the other voices out"),
        ([], "no speech is given"),
    ],
)
def test_voices_that_contradict_are_refused(pairs: list[str], words: str):
    with pytest.raises(InputError, match=words):
        Voices.parse(pairs)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [(["left=a.wav", "right=b.wav"], "2 voices contradict exact"), (["all=a.wav"], "a face is all, which contradicts")],
)
def test_exact_generates_one_face(pairs: list[str], words: str):
    Voices.parse(["left=a.wav"]).check_exact()
    with pytest.raises(ConfigError, match=words):
        Voices.parse(pairs).check_exact()


def test_one_speech_belongs_to_the_chosen_face():
    voices = Voices.of("a.wav", "left")
    assert voices.voices == (Voice("left", Path("a.wav")),)
    assert not voices.keep_people
    assert Voices.parse(["left=a.wav"]).keep_people
    assert Voices.of(voices, "right") is voices


@dataclass
class Faces:
    """Faces at given columns, in scenes of equal length."""

    scenes: list[list[float]]
    length: int = 10

    def tracks(self, looks: list[list[float]] | None = None) -> FaceTracks:
        """Return the tracks; `looks` has a number for the appearance of each face of each scene."""
        tracker = FaceTracker()
        for number, scene in enumerate(self.scenes):
            seen = None if looks is None else [np.array([look], dtype=np.float32) for look in looks[number]]
            for frame in range(self.length):
                tracker.add([face_at(x) for x in scene], frame == 0, seen)
        describer = None if looks is None else ColourHistograms()
        return FaceTracks(identified(tracker.tracks(), describer), tracker.num_frames, (640, 360))


def face_at(x: float) -> Detection:
    box = np.array([x, 100, x + 60, 180], dtype=np.float32)
    anchors = np.array([[x + 15, 120], [x + 45, 120], [x + 30, 140]], dtype=np.float32)
    return Detection(box, 0.99, anchors)


def voice(face: str) -> OpenVoice:
    return OpenVoice(face, Path(f"{face}.wav"), ArraySamples(np.zeros(16000)))


def test_every_voice_gets_its_person():
    found = Faces([[100, 400], [50, 300]]).tracks()
    people = select_people(found, [voice("left"), voice("right")], Fraction(25))
    assert [person.name for person in people] == ["left", "right"]
    for person, columns in zip(people, ([115, 65], [415, 315]), strict=True):
        assert person.plan.anchors[[5, 15], 0, 0].tolist() == pytest.approx(columns)
        assert person.notes[BY_PLACE].tolist() == [False] * 10 + [True] * 10  # nobody is recognized without appearance


def test_people_who_swap_sides_at_a_cut_keep_their_voices():
    found = Faces([[100, 400], [50, 300], [200]]).tracks([[0, 1], [1, 0], [1]])
    left, right = select_people(found, [voice("left"), voice("right")], Fraction(25))
    assert left.plan.anchors[[5, 15], 0, 0].tolist() == pytest.approx([115, 315])
    assert right.plan.anchors[[5, 15, 25], 0, 0].tolist() == pytest.approx([415, 65, 215])
    assert (left.plan.segment[20:] == -1).all()  # the left person is absent, and the right one is known
    assert left.notes == right.notes == {}
    (selected,) = select_people(found, [voice("left")], Fraction(25), keep_people=False)
    assert selected.plan.anchors[[5, 15, 25], 0, 0].tolist() == pytest.approx([115, 65, 215])


def tracks_of(*parts: tuple[int, float, int, int]) -> FaceTracks:
    """Return identified tracks: person, column, first frame and the frame after the last one of each."""
    tracks = []
    for person, x, start, stop in parts:
        track = Track(0)
        track.person = person
        for frame in range(start, stop):
            track.append(frame, face_at(x))
        tracks.append(track)
    return FaceTracks(tracks, max(part[3] for part in parts), (640, 360))


def test_people_who_change_sides_within_a_scene_are_named_by_their_first_place():
    found = tracks_of((0, 100, 0, 10), (1, 400, 0, 10), (0, 450, 12, 30), (1, 50, 12, 30))
    left, right = select_people(found, [voice("left"), voice("right")], Fraction(25))
    assert left.plan.anchors[[5, 20], 0, 0].tolist() == pytest.approx([115, 465])
    assert right.plan.anchors[[5, 20], 0, 0].tolist() == pytest.approx([415, 65])


def test_everyone_is_generated_once_where_people_stand_close():
    found = tracks_of((0, 100, 0, 10), (1, 130, 12, 30), (0, 100, 12, 30))
    people = select_people(found, [voice(EVERYONE)], Fraction(25))
    shown = sum((person.plan.segment >= 0).astype(int) for person in people)
    assert [int(shown[frame]) for frame in (5, 20)] == [1, 2]


@pytest.mark.parametrize(("faces", "words"), [(("left", "0"), "same person"), (("left", "7"), "'7' matches none")])
def test_two_voices_of_one_person_and_a_voice_of_nobody_are_refused(faces: tuple[str, str], words: str):
    found = Faces([[100, 400]]).tracks()
    with pytest.raises(InputError, match=words):
        select_people(found, [voice(face) for face in faces], Fraction(25))


def test_everyone_says_the_same():
    found = Faces([[100, 300, 500], [50]]).tracks()
    people = select_people(found, [voice(EVERYONE)], Fraction(25))
    shown = np.array([person.plan.segment >= 0 for person in people])
    assert shown.sum(axis=0).tolist() == [3] * 10 + [1] * 10
    assert len(people) == 3  # the face of the second scene continues a list
    assert {float(person.plan.anchors[5, 0, 0]) for person in people} == {115.0, 315.0, 515.0}


def test_the_speaker_has_the_only_voice():
    assert Voices.parse(["speaker=a.wav"]).voices[0].face == SPEAKER
    with pytest.raises(InputError, match="'speaker' may be anyone"):
        Voices.parse(["speaker=a.wav", "left=b.wav"])
