"""Find the people of a video: an image of each and the selector with which the pipeline follows them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from latentsync.errors import InputError
from latentsync.face.cuts import CutDetector
from latentsync.face.detection import FaceDetector
from latentsync.face.tracker import FaceTracker, Track, select_track
from latentsync.media.reader import VideoReader

FRAMES_PER_SECOND = 25
IMAGE_SIZE = 192
_MARGIN = 0.35
"""Margin around the box of a face on each side, relative to its size."""

_DETECTION_BATCH = 16
_MAX_PEOPLE = 24


@dataclass(frozen=True)
class Person:
    """A person whom the pipeline can follow.

    Attributes:
        selector: value for `LipsyncOptions.face`.
        caption: caption of the image: number, scene and time.
        frame: index of the frame for the image, at 25 frames per second.
        box: (4,) face box in that frame.
    """

    selector: str
    caption: str
    frame: int
    box: np.ndarray


def find_people(
    video: Path, detector: FaceDetector, folder: Path, max_frames: int, progress: Callable[[int, int], None]
) -> list[tuple[Person, Path]]:
    """Return the people of a video, scene by scene from left to right, and write an image of each.

    Args:
        video: the video.
        detector: face detector.
        folder: folder for the PNG files.
        max_frames: frames to search, from the start of the video.
        progress: called with (frames done, total frames).

    Raises:
        InputError: no face is found, or the video cannot be decoded.
    """
    rate = Fraction(FRAMES_PER_SECOND)
    with VideoReader(video, rate, max_frames=max_frames) as frames:
        total = min(max_frames, frames.info.num_frames_at(rate))
        tracks = _track(frames, detector, lambda done: progress(done, max(done, total)))
        size = (frames.width, frames.height)
    people = list_people(tracks, size)[:_MAX_PEOPLE]
    if not people:
        raise InputError(f"no face was found in {video}: use a video that shows a face")
    frame_indices = {person.frame for person in people}
    paths = [folder / f"person_{number}.png" for number in range(len(people))]
    with VideoReader(video, rate, max_frames=max(frame_indices) + 1) as frames:
        for i, frame in enumerate(frames):
            for person, path in zip(people, paths, strict=True):
                if person.frame == i:
                    face_image(frame, person.box).save(path)
    return list(zip(people, paths, strict=True))


def list_people(tracks: list[Track], frame_size: tuple[int, int]) -> list[Person]:
    """Return the people of the tracks.

    In a video of one scene the selector is a point of the face. With several scenes a point is ambiguous, so the
    selector is the index from the left, which the pipeline counts in every scene.
    """
    scenes = sorted({track.scene for track in tracks})
    people: list[Person] = []
    for number, scene in enumerate(scenes):
        candidates = [track for track in tracks if track.scene == scene]
        index = 0
        while (track := select_track(candidates, str(index), frame_size)) is not None:
            selector = str(index) if len(scenes) > 1 else _point(track, candidates, frame_size) or str(index)
            place = f"person {index + 1}" + (f", scene {number + 1}" if len(scenes) > 1 else "")
            frame = len(track) // 2
            people.append(
                Person(selector, f"{place} ({_seconds(track)})", int(track.frames[frame]), track.boxes[frame])
            )
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


def _track(frames: Iterable[np.ndarray], detector: FaceDetector, progress: Callable[[int], None]) -> list[Track]:
    tracker, cuts, iterator = FaceTracker(), CutDetector(), iter(frames)
    while batch := list(islice(iterator, _DETECTION_BATCH)):
        for frame, detections in zip(batch, detector.detect(batch), strict=True):
            tracker.add(detections, cuts.is_cut(frame))
        progress(tracker.num_frames)
    return tracker.tracks()


def _point(track: Track, candidates: list[Track], frame_size: tuple[int, int]) -> str | None:
    """Return a point that selects this track, or None if it selects another one."""
    x, y = np.clip(np.round(track.centre), 0, np.array(frame_size) - 1).astype(int)
    selector = f"{x},{y}"
    return selector if select_track(candidates, selector, frame_size) is track else None


def _seconds(track: Track) -> str:
    return f"{track.frames[0] / FRAMES_PER_SECOND:.1f}-{(track.last_frame + 1) / FRAMES_PER_SECOND:.1f} s"
