"""All faces of a video as tracks, linked from those of its frames."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import numpy as np

from latentsync.errors import InputError
from latentsync.face.appearance import AppearanceDescriber, ColourHistograms
from latentsync.face.detected_faces import DetectedFaces, detect_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.identity import TrackedPerson, identified, others_of, people_of
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.face.tracker import (
    FaceTracker,
    PersonSelector,
    Track,
    continuations,
    parse_selector,
    select_track,
    without_bystanders,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceTracks:
    """Tracks of all faces of a video.

    Attributes:
        tracks: in the order of their first frames.
        num_frames: length of the video.
        frame_size: (w, h) of its frames in pixels, to which boxes and anchors refer.
    """

    tracks: Sequence[Track]
    num_frames: int
    frame_size: tuple[int, int]

    def scenes(self) -> list[list[Track]]:
        """Return the tracks of every scene with a face."""
        numbers = sorted({track.scene for track in self.tracks})
        return [[track for track in self.tracks if track.scene == number] for number in numbers]

    def follow(self, selector: str) -> list[Track]:
        """Return the tracks of the selected face, scene by scene (see `tracker.select_track`).

        A person who is selected by number is recognized in every scene. The tracks do not overlap in time. The list is
        empty if the video shows no face.

        Raises:
            InputError: the selector is invalid, or selects none of the faces.
        """
        if isinstance(parse_selector(selector), PersonSelector):
            return self.follow_person(selector)[0]
        followed: list[Track] = []
        for candidates in self.scenes():
            chosen = select_track(candidates, selector, self.frame_size)
            if chosen is None:
                logger.info("scene %d: no face matches %s", candidates[0].scene, selector)
            else:
                others = others_of(chosen, candidates)
                followed += continuations(chosen, [track for track in candidates if track not in others])
        if self.tracks and not followed:
            raise _matches_nobody(selector)
        return followed

    def follow_person(self, selector: str) -> tuple[list[Track], list[Track]]:
        """Return the tracks of the person whom the selector selects first, recognized by appearance in later scenes.

        In a later scene without this person the selector selects again, if it selects somebody who is new.

        Returns:
            The tracks, which do not overlap in time, and those of them that were selected in later scenes.

        Raises:
            InputError: the selector is invalid, or selects none of the faces.
        """
        own: list[int] = []
        known: set[int] = set()
        followed: list[Track] = []
        by_place: list[Track] = []
        for candidates in self.scenes():
            shown = {track.person for track in candidates}
            number = next((person for person in own if person in shown), None)
            if number is None:
                chosen = select_track(_firsts(candidates), selector, self.frame_size)
                if chosen is not None and chosen.person not in known:
                    number = chosen.person
                    by_place += [track for track in candidates if own and track.person == number]
                    own.append(number)
            followed += [track for track in candidates if number is not None and track.person == number]
            known |= shown
        if self.tracks and not followed:
            raise _matches_nobody(selector)
        return followed, by_place

    def people(self) -> list[TrackedPerson]:
        """Return the people of all scenes, in the order of `identity.TrackedPerson.id`."""
        return people_of(self.tracks)

    def everyone(self) -> list[list[Track]]:
        """Return the tracks of all people but bystanders, in as few lists as possible without overlaps in time."""
        lists: list[list[Track]] = []
        for candidates in self.scenes():
            for person in people_of(without_bystanders(candidates)):
                parts = list(person.tracks)
                free = (chosen for chosen in lists if chosen[-1].last_frame < parts[0].frames[0])
                if (chosen := next(free, None)) is None:
                    lists.append(parts)
                else:
                    chosen += parts
        return lists


def track_faces(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    selectors: Sequence[str] = (),
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    interval: int = DETECTION_INTERVAL,
    frame_size: tuple[int, int] | None = None,
    describer: AppearanceDescriber | None = None,
) -> FaceTracks:
    """Return the tracks of a video; memory holds one batch of frames and the tracks.

    Args:
        frames: uint8 RGB (h, w, 3), all of one size.
        detector: the face detector.
        selectors: checked with the first frame, before the long work.
        batch_size: frames detected together.
        progress: called with the number of processed frames after each batch.
        interval: that of `SparseDetector`.
        frame_size: (w, h) of the video's frames in pixels, to which selectors and tracks refer; by default the size
            of the given frames, which may be reduced ones.
        describer: descriptor of people; colour histograms by default.

    Raises:
        InputError: a selector is invalid.
    """
    remaining = iter(frames)
    if (first := next(remaining, None)) is None:
        return FaceTracks([], 0, frame_size or (1, 1))
    height, width = first.shape[:2]
    frame_size, describer = frame_size or (width, height), describer or ColourHistograms()
    check_selectors(selectors, frame_size)
    frames = chain([first], remaining)
    detected = detect_faces(frames, detector, frame_size, batch_size, interval, describer, progress=progress)
    with closing(detected):
        return track_detections(detected, frame_size, describer)


def track_detections(
    batches: Iterable[DetectedFaces], frame_size: tuple[int, int], describer: AppearanceDescriber | None = None
) -> FaceTracks:
    """Return the tracks of a video from the faces of its frames.

    The tracks of people who cross are repaired and the person of each track is numbered (`identity.identified`).

    Args:
        batches: the faces of successive batches of frames.
        frame_size: (w, h) of the video's frames in pixels.
        describer: descriptor of the faces' appearance; colour histograms by default.
    """
    tracker = FaceTracker()
    for batch in batches:
        for frame in batch.frames():
            tracker.add(frame.faces, frame.is_cut, frame.looks)
    return FaceTracks(identified(tracker.tracks(), describer or ColourHistograms()), tracker.num_frames, frame_size)


def check_selectors(selectors: Iterable[str], frame_size: tuple[int, int]) -> None:
    """Check face selectors before the long work.

    Raises:
        InputError: one is invalid for frames of this size (w, h) in pixels.
    """
    for selector in selectors:
        select_track([], selector, frame_size)


def _firsts(tracks: Sequence[Track]) -> list[Track]:
    """Return the first track of each person of a scene, whose place counts if people change sides later."""
    firsts: dict[int, Track] = {}
    for track in sorted(tracks, key=lambda track: track.frames[0]):
        firsts.setdefault(track.person, track)
    return list(firsts.values())


def _matches_nobody(selector: str) -> InputError:
    return InputError(f"face {selector!r} matches none of the faces found in the video: use largest, left or right")
