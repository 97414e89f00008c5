import numpy as np
import pytest
from PIL import Image

from latentsync.app.people import IMAGE_SIZE, face_image, find_people, list_people
from latentsync.errors import InputError
from latentsync.face.appearance import ColourHistograms
from latentsync.face.detection import Detection
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.identity import identified
from latentsync.face.tracker import FaceTracker, select_track
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


def test_in_one_scene_a_person_is_a_point_of_the_face():
    found = tracks([{RIGHT: RED, LEFT: GREEN}])
    people = list_people(found)
    assert [person.caption for person in people] == ["person 1 (0.0-0.4 s)", "person 2 (0.0-0.4 s)"]
    chosen = [select_track(found.tracks, person.selector, SIZE) for person in people]
    assert [tuple(track.last_box) for track in chosen if track is not None] == [LEFT, RIGHT]
    assert all("," in person.selector for person in people)


def test_captions_tell_how_long_each_person_speaks():
    found = tracks([{RIGHT: RED, LEFT: GREEN}, {LEFT: RED}])
    left = next(track.person for track in found.tracks if tuple(track.last_box) == LEFT)
    people = list_people(found, [Turn(left, 0, 4), Turn(1 - left, 4, 15)])
    assert [person.caption.partition("), ")[2] for person in people] == ["speaks 40%", "speaks 60%", "speaks 50%"]


def test_in_several_scenes_people_are_counted_from_the_left():
    people = list_people(tracks([{RIGHT: RED, LEFT: GREEN}, {MIDDLE: BLUE}]))
    assert [(person.selector, person.caption) for person in people] == [
        ("0", "person 1, scene 1 (0.0-0.4 s)"),
        ("1", "person 2, scene 1 (0.0-0.4 s)"),
        ("0", "person 1, scene 2 (0.4-0.8 s)"),
    ]
    assert people[2].frame == 15


def test_a_voice_selects_the_person_of_the_first_image_across_cuts():
    """Green and red change places; blue is new at a place where the selectors by index meet green before."""
    found = tracks([{LEFT: GREEN, RIGHT: RED}, {LEFT: RED, MIDDLE: BLUE, RIGHT: GREEN}])
    people = list_people(found)
    assert [person.voice for person in people] == ["0", "1", None, "155,100", None]
    followed = [found.follow_person(voice)[0] for voice in ("0", "1", "155,100")]
    assert [{track.person for track in tracks} for tracks in followed] == [{0}, {1}, {2}]
    assert [len(tracks) for tracks in followed] == [2, 2, 1]


def test_a_person_whom_no_selector_reaches_has_no_voice():
    """Both selectors of red meet green first."""
    people = list_people(tracks([{LEFT: GREEN}, {LEFT: RED}]))
    assert [(person.selector, person.voice) for person in people] == [("0", "0"), ("0", None)]


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
