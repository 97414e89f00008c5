"""Find the people of a video: an image of each and the selector with which the pipeline follows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from latentsync.face.describer import DescriberChoice
from latentsync.face.detection import FaceDetector
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.identity import TrackedPerson
from latentsync.face.tracker import PersonSelector, without_bystanders
from latentsync.judges.active_speaker import StreamingSyncNet
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.pipelines.face_pass import find_tracks
from latentsync.pipelines.speaker_pass import Turn, follow_speakers

FRAMES_PER_SECOND = 25
IMAGE_SIZE = 192
_MARGIN = 0.35
"""Margin around the box of a face on each side, relative to its size."""

_MAX_PEOPLE = 24


@dataclass(frozen=True)
class Person:
    """A person whom the pipeline can follow.

    Attributes:
        selector: value for `LipsyncOptions.face` and `latentsync.pipelines.voices.Voice`, in all scenes.
        caption: caption of the image: selector, time, number of scenes, and the share of the time of speech.
        frame: index of the frame for the image, at 25 frames per second.
        box: (4,) face box in that frame.
    """

    selector: str
    caption: str
    frame: int
    box: np.ndarray


def find_people(
    video: Path,
    detector: FaceDetector,
    folder: Path,
    max_frames: int,
    progress: Callable[[int, int], None],
    speaker_network: Callable[[], StreamingSyncNet] | None = None,
    describer: DescriberChoice | None = None,
) -> list[tuple[Person, Path]]:
    """Return the people of a video, in the order in which they appear, and write an image of each.

    Args:
        video: the video.
        detector: face detector.
        folder: folder for the PNG files.
        max_frames: frames to search, from the start of the video.
        progress: called with (frames done, total frames).
        speaker_network: loads the SyncNet that finds who speaks; None: this is not found.
        describer: descriptor of people, see `find_tracks`.

    Raises:
        InputError: no face is found, or the video cannot be decoded.
    """
    rate = Fraction(FRAMES_PER_SECOND)
    found = find_tracks(
        probe_video(video), rate, detector, max_frames=max_frames, progress=progress, describer=describer
    )
    turns: Sequence[Turn] = ()
    if speaker_network is not None and len(found.people()) > 1:
        turns = follow_speakers(probe_video(video), rate, found, speaker_network, folder, progress).turns
    people = list_people(found, turns)[:_MAX_PEOPLE]
    frame_indices = {person.frame for person in people}
    paths = [folder / f"{person.selector}.png" for person in people]
    with VideoReader(video, rate, max_frames=max(frame_indices) + 1) as frames:
        for i, frame in enumerate(frames):
            for person, path in zip(people, paths, strict=True):
                if person.frame == i:
                    face_image(frame, person.box).save(path)
    return list(zip(people, paths, strict=True))


def list_people(found: FaceTracks, turns: Sequence[Turn] = ()) -> list[Person]:
    """Return the people of all scenes but bystanders; `turns` is who speaks when, empty if unknown.

    The image of a person is from the middle of the longest track.
    """
    near = {id(track) for candidates in found.scenes() for track in without_bystanders(candidates)}
    people = []
    for person in found.people():
        if shown := [track for track in person.tracks if id(track) in near]:
            track = max(shown, key=len)
            middle = len(track) // 2
            selector = str(PersonSelector(person.id))
            caption = f"{selector} ({_time(person)})" + (f", speaks {_share(person, turns):.0%}" if turns else "")
            people.append(Person(selector, caption, int(track.frames[middle]), track.boxes[middle]))
    return people


def face_image(frame: np.ndarray, box: np.ndarray) -> Image.Image:
    """Return a square image of a face, given the frame (h, w, 3) uint8 and the face box (4,)."""
    centre, half = (box[:2] + box[2:]) / 2, (0.5 + _MARGIN) * float((box[2:] - box[:2]).max())
    height, width = frame.shape[:2]
    left, top = np.maximum(centre - half, 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + half), (width, height)).astype(int)
    cut = Image.fromarray(np.ascontiguousarray(frame[top : max(bottom, top + 1), left : max(right, left + 1)]))
    return ImageOps.pad(cut, (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


def _share(person: TrackedPerson, turns: Sequence[Turn]) -> float:
    """Return the share of a person's time on screen in which that person speaks."""
    own = [turn for turn in turns if turn.person == person.id]
    shown = spoken = 0
    for track in person.tracks:
        start, stop = int(track.frames[0]), track.last_frame + 1
        shown += stop - start
        spoken += sum(max(min(turn.stop, stop) - max(turn.start, start), 0) for turn in own)
    return spoken / shown


def _time(person: TrackedPerson) -> str:
    """Return the time from the first to the last frame of a person, and the number of scenes if there are several."""
    start, stop = person.tracks[0].frames[0], person.tracks[-1].last_frame + 1
    num_scenes = len(person.scenes())
    scenes = f" in {num_scenes} scenes" if num_scenes > 1 else ""
    return f"{start / FRAMES_PER_SECOND:.1f}-{stop / FRAMES_PER_SECOND:.1f} s{scenes}"
