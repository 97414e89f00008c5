"""Find the people of a video: an image of each and the selector with which the pipeline follows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from latentsync.errors import InputError
from latentsync.face.detection import FaceDetector
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.tracker import Track, select_track
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
        selector: value for `LipsyncOptions.face`.
        caption: caption of the image: number, scene, time, and the share of it in which the person speaks.
        frame: index of the frame for the image, at 25 frames per second.
        box: (4,) face box in that frame.
        voice: selector for `latentsync.pipelines.voices.Voice`, at the first image of each person; None at the
            others, and if no selector reaches this person.
    """

    selector: str
    caption: str
    frame: int
    box: np.ndarray
    voice: str | None = None


def find_people(
    video: Path,
    detector: FaceDetector,
    folder: Path,
    max_frames: int,
    progress: Callable[[int, int], None],
    speaker_network: Callable[[], StreamingSyncNet] | None = None,
) -> list[tuple[Person, Path]]:
    """Return the people of a video, scene by scene from left to right, and write an image of each.

    Args:
        video: the video.
        detector: face detector.
        folder: folder for the PNG files.
        max_frames: frames to search, from the start of the video.
        progress: called with (frames done, total frames).
        speaker_network: loads the SyncNet that finds who speaks; None: this is not found.

    Raises:
        InputError: no face is found, or the video cannot be decoded.
    """
    rate = Fraction(FRAMES_PER_SECOND)
    found = find_tracks(probe_video(video), rate, detector, max_frames=max_frames, progress=progress)
    turns: Sequence[Turn] = ()
    if speaker_network is not None and len(found.people()) > 1:
        turns = follow_speakers(probe_video(video), rate, found, speaker_network, folder, progress).turns
    people = list_people(found, turns)[:_MAX_PEOPLE]
    frame_indices = {person.frame for person in people}
    paths = [folder / f"person_{number}.png" for number in range(len(people))]
    with VideoReader(video, rate, max_frames=max(frame_indices) + 1) as frames:
        for i, frame in enumerate(frames):
            for person, path in zip(people, paths, strict=True):
                if person.frame == i:
                    face_image(frame, person.box).save(path)
    return list(zip(people, paths, strict=True))


def list_people(found: FaceTracks, turns: Sequence[Turn] = ()) -> list[Person]:
    """Return the people of every scene; `turns` is who speaks when, empty if unknown.

    In a video of one scene the selector is a point of the face. With several scenes a point is ambiguous, so the
    selector is the index from the left, which the pipeline counts in every scene. A voice follows its person across
    cuts: its selector may be a point of the scene in which the person appears first.
    """
    scenes, frame_size = found.scenes(), found.frame_size
    people: list[Person] = []
    numbers: set[int] = set()
    for number, candidates in enumerate(scenes):
        index = 0
        while (track := select_track(candidates, str(index), frame_size)) is not None:
            point = _point(track, candidates, frame_size)
            selector = str(index) if len(scenes) > 1 else point or str(index)
            voice = None if track.person in numbers else _voice(found, track, [selector, point])
            numbers.add(track.person)
            place = f"person {index + 1}" + (f", scene {number + 1}" if len(scenes) > 1 else "")
            frame = len(track) // 2
            caption = f"{place} ({_seconds(track)})" + (f", speaks {_share(track, turns):.0%}" if turns else "")
            people.append(Person(selector, caption, int(track.frames[frame]), track.boxes[frame], voice))
            index += 1
    return people


def face_image(frame: np.ndarray, box: np.ndarray) -> Image.Image:
    """Return a square image of a face, given the frame (h, w, 3) uint8 and the face box (4,)."""
    centre, half = (box[:2] + box[2:]) / 2, (0.5 + _MARGIN) * float((box[2:] - box[:2]).max())
    height, width = frame.shape[:2]
    left, top = np.maximum(centre - half, 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + half), (width, height)).astype(int)
    cut = Image.fromarray(np.ascontiguousarray(frame[top : max(bottom, top + 1), left : max(right, left + 1)]))
    return ImageOps.pad(cut, (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


def _share(track: Track, turns: Sequence[Turn]) -> float:
    """Return the share of a track's time in which its person speaks."""
    start, stop = int(track.frames[0]), track.last_frame + 1
    own = (turn for turn in turns if turn.person == track.person)
    spoken = sum(max(min(turn.stop, stop) - max(turn.start, start), 0) for turn in own)
    return spoken / (stop - start)


def _voice(found: FaceTracks, track: Track, selectors: Sequence[str | None]) -> str | None:
    """Return the first selector with which a voice follows the person of a track, if possible nobody else, or None."""
    followed = {selector: _people_followed(found, selector) for selector in selectors if selector is not None}
    alone = (selector for selector, numbers in followed.items() if set(numbers) == {track.person})
    first = (selector for selector, numbers in followed.items() if numbers[:1] == [track.person])
    return next(alone, next(first, None))


def _people_followed(found: FaceTracks, selector: str) -> list[int]:
    """Return the number of the person of each track that a voice follows."""
    try:
        return [track.person for track in found.follow_person(selector)[0]]
    except InputError:  # it selects only people who are visible in an earlier scene
        return []


def _point(track: Track, candidates: list[Track], frame_size: tuple[int, int]) -> str | None:
    """Return a point that selects this track, or None if it selects another one."""
    x, y = np.clip(np.round(track.centre), 0, np.array(frame_size) - 1).astype(int)
    selector = f"{x},{y}"
    return selector if select_track(candidates, selector, frame_size) is track else None


def _seconds(track: Track) -> str:
    return f"{track.frames[0] / FRAMES_PER_SECOND:.1f}-{(track.last_frame + 1) / FRAMES_PER_SECOND:.1f} s"
