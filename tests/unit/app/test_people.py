import numpy as np
import pytest
from PIL import Image

from latentsync.app.people import IMAGE_SIZE, face_image, find_people, list_people
from latentsync.errors import InputError
from latentsync.face.appearance import ColourHistograms
from latentsync.face.detection import Detection
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.identity import identified
from latentsync.face.tracker import FaceTracker
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.speaker_pass import Turn

SIZE = (320, 240)
LEFT, RIGHT, MIDDLE = (20, 60, 80, 130), (220, 70, 290, 150), (120, 60, 190, 140)


def detection(box: tuple[int, ...]) -> Detection:
    return Detection(np.array(box, dtype=np.float32), 0.9, np.zeros((3, 2), dtype=np.float32))


RED, GREEN, BLUE = np.eye(3, dtype=np.float32)


def tracks(scenes: list[dict[tuple[int, ...], np.ndarray]]) -> FaceTracks:
    """Return ten frames of each scene, given the boxes and the appearance of the faces."""
    tracker = FaceTracker()
    for faces in scenes:
        for i in range(10):
            tracker.add([detection(box) for box in faces], i == 0, list(faces.values()))
    return FaceTracks(identified(tracker.tracks(), ColourHistograms()), tracker.num_frames, SIZE)


def test_people_are_numbered_from_the_left():
    found = tracks([{RIGHT: RED, LEFT: GREEN}])
    people = list_people(found)
    assert [(person.selector, person.caption) for person in people] == [
        ("person1", "person1 (0.0-0.4 s)"),
        ("person2", "person2 (0.0-0.4 s)"),
    ]
    assert [tuple(person.box) for person in people] == [LEFT, RIGHT]


def test_captions_tell_how_long_each_person_speaks():
    """The person on the left speaks in 4 of 10 frames, the other one in 6 of the first and 5 of the second scene."""
    people = list_people(tracks([{RIGHT: RED, LEFT: GREEN}, {LEFT: RED}]), [Turn(0, 0, 4), Turn(1, 4, 15)])
    assert [person.caption for person in people] == [
        "person1 (0.0-0.4 s), speaks 40%",
        "person2 (0.0-0.8 s in 2 scenes), speaks 55%",
    ]


def test_each_person_of_several_scenes_has_one_image_and_a_selector_that_finds_all_of_it():
    """Green and red change places; blue is new, at a place where others were before."""
    found = tracks([{LEFT: GREEN, RIGHT: RED}, {RIGHT: GREEN, LEFT: RED}, {LEFT: BLUE, RIGHT: RED}])
    people = list_people(found)
    assert [person.selector for person in people] == ["person1", "person2", "person3"]
    assert [person.frame for person in people] == [5, 5, 25]
    for follow in (lambda selector: found.follow_person(selector)[0], found.follow):
        followed = [follow(person.selector) for person in people]
        boxes = [[tuple(track.last_box) for track in tracks] for tracks in followed]
        assert boxes == [[LEFT, RIGHT], [RIGHT, LEFT, RIGHT], [LEFT]]


def test_two_people_who_are_filmed_in_turns_at_one_place_are_told_apart():
    found = tracks([{MIDDLE: GREEN}, {MIDDLE: RED}, {MIDDLE: GREEN}])
    people = list_people(found)
    assert [person.caption for person in people] == ["person1 (0.0-1.2 s in 2 scenes)", "person2 (0.4-0.8 s)"]
    followed = [found.follow_person(person.selector) for person in people]
    assert [[track.scene for track in tracks] for tracks, _ in followed] == [[0, 2], [1]]
    assert [by_place for _, by_place in followed] == [[], []]


def test_the_image_is_from_the_longest_appearance():
    tracker = FaceTracker()
    for box, num_frames in ((LEFT, 10), (RIGHT, 30)):
        for i in range(num_frames):
            tracker.add([detection(box)], i == 0, [RED])
    (person,) = list_people(FaceTracks(identified(tracker.tracks(), ColourHistograms()), 40, SIZE))
    assert (person.frame, tuple(person.box)) == (25, RIGHT)


def test_faces_that_are_small_beside_the_largest_are_left_out_and_keep_their_number():
    people = list_people(tracks([{(0, 0, 12, 12): BLUE, LEFT: GREEN, RIGHT: RED}]))
    assert [person.selector for person in people] == ["person2", "person3"]


def test_an_image_shows_the_face_and_is_square_at_the_border_too():
    frame = np.zeros((240, 320, 3), dtype=np.uint8)
    frame[0:50, 0:40] = (255, 0, 0)
    shown = face_image(frame, np.array([0, 0, 40, 50], dtype=np.float32))
    assert shown.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert shown.getpixel((60, 60)) == (255, 0, 0)


class SquareDetector:
    """Detect the red and the green square."""

    def detect(self, frames):
        return [
            [detection(box) for box in (LEFT, RIGHT) if frame[box[1] + 30, box[0] + 30].max() > 100] for frame in frames
        ]


def test_images_show_the_right_people(tmp_path):
    frame = np.zeros((240, 320, 3), dtype=np.uint8)
    for box, colour in ((LEFT, (220, 0, 0)), (RIGHT, (0, 220, 0))):
        frame[box[1] : box[3], box[0] : box[2]] = colour
    with VideoWriter(tmp_path / "video.mp4", *SIZE, 25) as writer:
        for _ in range(12):
            writer.write(frame)
    reported = []
    found = find_people(tmp_path / "video.mp4", SquareDetector(), tmp_path, 8, lambda *done: reported.append(done))
    colours = [np.asarray(Image.open(path))[96, 96] for _, path in found]
    assert [int(colour.argmax()) for colour in colours] == [0, 1]
    assert reported[-1] == (8, 8)


def test_no_people_is_one_line(tmp_path):
    with VideoWriter(tmp_path / "video.mp4", *SIZE, 25) as writer:
        for _ in range(3):
            writer.write(np.zeros((240, 320, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="no face was found"):
        find_people(tmp_path / "video.mp4", SquareDetector(), tmp_path, 100, lambda done, total: None)
