"""The faces of a part of a video equal those of the whole video."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest

from latentsync.face.detected_faces import DetectedFaces, FrameFaces, detect_faces, frames_before
from latentsync.face.detection import Detection
from latentsync.face.face_tracks import FaceTracks, track_detections
from tests.unit.face.faces import FRAME_SIZE, detection
from tests.unit.face.test_sparse_detection import Scene, during, numbered

BATCH, INTERVAL, NUM_FRAMES = 12, 6, 70
CUTS = (24, 35, 36, 59)


class EveryFace:
    """Descriptor of the grey level and of the box."""

    name, interval, same, margin = "every face", 5, 0.1, 0.1

    def describe(self, frame: np.ndarray, faces: Sequence[Detection]) -> list[np.ndarray | None]:
        described = [np.array([frame[4, 4, 0], face.box[0]], dtype=np.float32) for face in faces]
        return [*described[:1], *[None] * len(described[1:])]


class RoundingScene(Scene):
    """The same, with positions that differ a little with the frames detected together and with the box given.

    So do those of networks: roundings differ with the size of a batch.
    """

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = super().detect(frames)
        return [[replace(face, box=face.box + 0.01 * len(frames)) for face in faces] for faces in found]

    def _near(self, frame: np.ndarray, box: np.ndarray, share: float = 1 / 3) -> Detection | None:
        face = super()._near(frame, box, share)
        return None if face is None else replace(face, box=face.box + 0.1 * (box - face.box))


def people() -> Scene:
    """Return one who walks and pauses across a border, one who enters, and one who is lost now and then."""
    walking, hidden = during(0, NUM_FRAMES, x=120, speed=2), range(46, 52)
    entering = during(20, 50, x=500, speed=-1)
    return RoundingScene(lambda i: None if i in hidden else walking(i), entering, lost={11, 13, 25, 47, 60})


def frames() -> list[np.ndarray]:
    """Return numbered frames whose grey level changes at the cuts."""
    found = numbered(NUM_FRAMES)
    for i, frame in enumerate(found):
        frame[2:] = 40 + 170 * (sum(cut <= i for cut in CUTS) % 2)
    return found


def detected(start: int, stop: int, batch: int = BATCH, interval: int = INTERVAL) -> list[DetectedFaces]:
    before = frames_before(start, batch)
    given = frames()[start - before : stop]
    return list(detect_faces(given, people(), FRAME_SIZE, batch, interval, EveryFace(), before))


def assert_equal(found: Sequence[DetectedFaces], expected: Sequence[DetectedFaces]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for column in fields(DetectedFaces):
            np.testing.assert_array_equal(getattr(one, column.name), getattr(other, column.name), column.name)


@pytest.mark.parametrize("interval", [INTERVAL, 1])
@pytest.mark.parametrize("start", range(BATCH, NUM_FRAMES, BATCH))
def test_a_part_has_the_faces_of_the_whole(start: int, interval: int):
    whole = detected(0, NUM_FRAMES, interval=interval)
    assert [i for i, cut in enumerate(np.concatenate([batch.is_cut for batch in whole])) if cut] == [*CUTS]
    assert_equal(detected(start, NUM_FRAMES, interval=interval), whole[start // BATCH :])
    assert_equal(detected(0, start, interval=interval), whole[: start // BATCH])


def test_a_part_beyond_the_end_has_no_frames():
    for start in (72, 84, 96):
        assert detected(start, NUM_FRAMES) == []


def test_arrays_keep_every_face():
    look = np.arange(3, dtype=np.float32)
    first, second = detection(100, 200), detection(400, 200)
    given = [
        FrameFaces(True, [first, second], [None, look]),
        FrameFaces(False, [], []),
        FrameFaces(False, [second], [look + 1]),
    ]
    for frame, expected in zip(DetectedFaces.of(given).frames(), given, strict=True):
        assert frame.is_cut is expected.is_cut
        assert [face.score for face in frame.faces] == [face.score for face in expected.faces]
        np.testing.assert_array_equal(
            [(*face.box, *face.anchors.ravel()) for face in frame.faces],
            [(*face.box, *face.anchors.ravel()) for face in expected.faces],
        )
        for found, wanted in zip(frame.looks, expected.looks, strict=True):
            assert (None if found is None else found.tolist()) == (None if wanted is None else wanted.tolist())
    (empty,) = DetectedFaces.of([FrameFaces(False, [], [])]).frames()
    assert not empty.faces
    assert not empty.looks


def test_faces_are_described_at_changes_and_in_every_fifth_frame_twice_as_often_if_there_are_several():
    one, two = during(0, 24, x=150), during(6, 9, x=450)
    given = detect_faces(numbered(24), Scene(one, two), FRAME_SIZE, BATCH, 1, EveryFace())
    described = np.concatenate([[any(look is not None for look in f.looks) for f in batch.frames()] for batch in given])
    assert np.flatnonzero(described).tolist() == [0, 5, 6, 8, 9, 12, 17, 22]


def test_tracks_of_parts_are_those_of_the_whole():
    def tracks(batches: Sequence[DetectedFaces]) -> FaceTracks:
        return track_detections(batches, FRAME_SIZE, EveryFace())

    whole = tracks(detected(0, NUM_FRAMES))
    joined = tracks([*detected(0, 36), *detected(36, 48), *detected(48, NUM_FRAMES)])
    assert len(whole.tracks) > 4
    assert_equal_tracks(joined, whole)


def assert_equal_tracks(found: FaceTracks, expected: FaceTracks) -> None:
    """Check that the tracks of two results are equal bit for bit."""
    assert (found.num_frames, found.frame_size) == (expected.num_frames, expected.frame_size)
    assert len(found.tracks) == len(expected.tracks)
    for one, other in zip(found.tracks, expected.tracks, strict=True):
        assert (one.scene, one.person) == (other.scene, other.person)
        for column in ("frames", "boxes", "anchors"):
            assert getattr(one, column).tobytes() == getattr(other, column).tobytes()
        looks = [[(frame, look.tobytes()) for frame, look in track.looks] for track in (one, other)]
        assert looks[0] == looks[1]
