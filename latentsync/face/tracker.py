"""Link detections of successive frames into tracks, and select the track to follow."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.errors import InputError
from latentsync.face.detection import Detection

MAX_GAP = 8
"""Successive frames without a detection after which a track still continues."""

SHORTEST_TRACK = 5
"""Tracks with fewer detections are dropped as false, unless the whole scene is shorter."""

_LINK_OVERLAP = 0.3
"""Smallest intersection over union of a box with the track's last box."""

_BYSTANDER_AREA = 1 / 16
"""Faces below this share of the largest face's area are ignored for ``left``, ``right``, an index and ``all``."""

_PERSON_SHARE = 0.2
"""Share of the followed person's time and area from which another face counts as a second person for ``only``."""

_PERSON = re.compile(r"person([1-9][0-9]{0,5})")

_ROW = 10
"""Numbers stored per detection: box 4, anchors 6."""


class SeveralPeopleError(InputError):
    """A scene shows several people, and the selector ``only`` demands one."""


@dataclass(frozen=True)
class PersonSelector:
    """Selector of an identified person, whatever the place.

    Attributes:
        person: `Track.person`, from 0; in the selector people are numbered from 1.
    """

    person: int

    def __str__(self) -> str:
        return f"person{self.person + 1}"


Selector = str | int | tuple[float, float] | PersonSelector
"""A word, an index from the left, a point in pixels, or the number of a person."""


class Track:
    """One face over time within one scene; about 44 bytes per frame, and its descriptors of appearance.

    Attributes:
        scene: index of the scene, from 0.
        person: number of the person, see `latentsync.face.identity`; -1 if unknown.
        looks: frames with a descriptor of appearance, ascending, and the descriptors.
    """

    def __init__(self, scene: int) -> None:
        self.scene = scene
        self.person = -1
        self.looks: list[tuple[int, np.ndarray]] = []
        self._frames = array("i")
        self._rows = array("f")

    def append(self, frame: int, detection: Detection, look: np.ndarray | None = None) -> None:
        """Add the detection of a later frame, and its descriptor of appearance."""
        self._frames.append(frame)
        self._rows.extend([*detection.box.tolist(), *detection.anchors.ravel().tolist()])
        if look is not None:
            self.looks.append((frame, look))

    def part(self, start: int, stop: int) -> "Track":
        """Return the detections in frames start to stop (excluded) as a track of their own."""
        low, high = bisect_left(self._frames, start), bisect_left(self._frames, stop)
        part = Track(self.scene)
        part.person = self.person
        part.looks = [(frame, look) for frame, look in self.looks if start <= frame < stop]
        part._frames, part._rows = self._frames[low:high], self._rows[_ROW * low : _ROW * high]
        return part

    def extend(self, later: "Track") -> None:
        """Add the detections of a track that begins after this one ends."""
        self.looks += later.looks
        self._frames += later._frames
        self._rows += later._rows

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def frames(self) -> np.ndarray:
        """(k,) int32 frames with a detection, ascending."""
        return np.array(self._frames, dtype=np.int32)

    @property
    def boxes(self) -> np.ndarray:
        """(k, 4) float32 boxes of those frames."""
        return np.array(self._rows, dtype=np.float32).reshape(-1, _ROW)[:, :4]

    @property
    def anchors(self) -> np.ndarray:
        """(k, 3, 2) float32 anchors of those frames."""
        return np.array(self._rows, dtype=np.float32).reshape(-1, _ROW)[:, 4:].reshape(-1, 3, 2)

    def boxes_at(self, frames: np.ndarray) -> np.ndarray:
        """Return the boxes (k, 4) float64 in given frames (k,), interpolated in gaps and held beyond both ends."""
        return np.stack([np.interp(frames, self.frames, column) for column in self.boxes.T], axis=1)

    @property
    def last_frame(self) -> int:
        """The last frame with a detection."""
        return self._frames[-1]

    @property
    def last_box(self) -> np.ndarray:
        """(4,) box in that frame."""
        return np.array(self._rows[-_ROW : 4 - _ROW], dtype=np.float32)

    @property
    def area(self) -> float:
        """Mean area of the boxes in square pixels."""
        boxes = self.boxes
        return float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).mean())

    @property
    def centre(self) -> np.ndarray:
        """(2,) median centre of the boxes in pixels."""
        boxes = self.boxes
        return np.median((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)


class FaceTracker:
    """Collect tracks from the detections of one frame after the other."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._active: list[Track] = []
        self._scene_starts = [0]
        self._num_frames = 0

    @property
    def num_frames(self) -> int:
        """Frames added so far."""
        return self._num_frames

    def add(
        self, detections: Sequence[Detection], is_cut: bool, looks: Sequence[np.ndarray | None] | None = None
    ) -> None:
        """Add the detections of the next frame and their descriptors; at a cut all tracks end before it."""
        frame = self._num_frames
        self._num_frames += 1
        if is_cut and frame > 0:
            self._scene_starts.append(frame)
            self._active = []
        self._active = [track for track in self._active if frame - track.last_frame <= MAX_GAP + 1]
        linked = _link(self._active, detections)
        for i, detection in enumerate(detections):
            track = linked.get(i)
            if track is None:
                track = Track(len(self._scene_starts) - 1)
                self._tracks.append(track)
                self._active.append(track)
            track.append(frame, detection, None if looks is None else looks[i])

    def tracks(self) -> list[Track]:
        """Return the tracks that are long enough, in the order of their first frames."""
        lengths = np.diff([*self._scene_starts, self._num_frames])
        return [track for track in self._tracks if len(track) >= min(SHORTEST_TRACK, lengths[track.scene])]


def select_track(tracks: Sequence[Track], selector: str, frame_size: tuple[int, int]) -> Track | None:
    """Return the selected track of a scene, or None.

    Args:
        tracks: tracks of one scene.
        selector: ``largest`` (area times time), ``left``, ``right``, an index counting from 0 at the left, ``x,y``, a
            point in the face in pixels, ``person1``, ...: a person by number (see `latentsync.face.identity`), or
            ``only``: the largest, if there is no second person.
        frame_size: (w, h) of the frames in pixels.

    Raises:
        InputError: the selector is invalid, or the point lies outside the frame.
        SeveralPeopleError: the selector is ``only``, and there are several people.
    """
    choice = _parse(selector, frame_size)
    if not tracks:
        return None
    largest = max(tracks, key=lambda track: track.area * len(track))
    if choice == "only":
        _check_alone(largest, tracks)
    if choice in ("largest", "only"):
        return largest
    if isinstance(choice, tuple):
        return _track_at(tracks, np.array(choice))
    if isinstance(choice, PersonSelector):
        return max((track for track in tracks if track.person == choice.person), key=len, default=None)
    shown = people_of(tracks)
    index = {"left": 0, "right": len(shown) - 1}.get(choice) if isinstance(choice, str) else choice
    return shown[index] if index is not None and index < len(shown) else None


def people_of(tracks: Sequence[Track]) -> list[Track]:
    """Return the people of a scene but bystanders, from left to right: the longest track of each."""
    return _people_from_left(without_bystanders(tracks))


def without_bystanders(tracks: Sequence[Track]) -> list[Track]:
    """Return the tracks of a scene whose faces are not small beside that of the largest one."""
    smallest = _BYSTANDER_AREA * max(tracks, key=lambda track: track.area * len(track)).area
    return [track for track in tracks if track.area >= smallest]


def continuations(track: Track, tracks: Sequence[Track]) -> list[Track]:
    """Return the track and those of its scene that continue it after a longer gap.

    A continuation is near, similar in size, and does not overlap it in time.
    """
    chosen, taken = [track], set(track.frames.tolist())
    for other in sorted(tracks, key=len, reverse=True):
        apart = float(np.abs(other.centre - track.centre).max())
        near = apart < 1.5 * np.sqrt(track.area) and 0.4 < other.area / track.area < 2.5
        span = set(range(int(other.frames[0]), other.last_frame + 1))
        if other.scene == track.scene and near and not span & taken:
            chosen.append(other)
            taken |= span
    return sorted(chosen, key=lambda part: part.frames[0])


def parse_selector(selector: str) -> Selector:
    """Parse a face selector: ``largest``, ``only``, ``left``, ``right``, an index, a point in pixels, or a person.

    Raises:
        InputError: the selector is invalid.
    """
    if selector in ("largest", "only", "left", "right"):
        return selector
    if (numbered := _PERSON.fullmatch(selector)) is not None:
        return PersonSelector(int(numbered[1]) - 1)
    try:
        if selector.isdecimal():
            return int(selector)
        x, y = (float(part) for part in selector.split(","))
    except ValueError:
        words = selector if len(selector) <= 40 else f"{selector[:40]}..."
        raise InputError(
            f"face {words!r} is unknown: use largest, only, left, right, an index from 0, x,y, or person1; lip-sync "
            "also takes all and speaker"
        ) from None
    return x, y


def _parse(selector: str, frame_size: tuple[int, int]) -> Selector:
    choice = parse_selector(selector)
    if not isinstance(choice, tuple):
        return choice
    x, y = choice
    if not (0 <= x < frame_size[0] and 0 <= y < frame_size[1]):
        raise InputError(f"face {selector!r} lies outside the frame of {frame_size[0]}x{frame_size[1]} pixels")
    return x, y


def _check_alone(person: Track, tracks: Sequence[Track]) -> None:
    """Raise SeveralPeopleError if another face stays long enough and is large enough to be a second person's."""
    length, area = _PERSON_SHARE * len(person), _PERSON_SHARE * person.area
    people = _people_from_left([track for track in tracks if len(track) >= length and track.area >= area])
    if len(people) > 1:
        raise SeveralPeopleError(f"{len(people)} people are in one scene: choose one with --face (left, right ...)")


def _track_at(tracks: Sequence[Track], point: np.ndarray) -> Track | None:
    """Return the track whose boxes contain the point in the most frames, or None."""
    hits = [int(((track.boxes[:, :2] <= point) & (point < track.boxes[:, 2:])).all(axis=1).sum()) for track in tracks]
    best = int(np.argmax(hits))
    return tracks[best] if hits[best] else None


def _people_from_left(tracks: Sequence[Track]) -> list[Track]:
    """Return one track per person, from left to right: the longest of tracks that continue each other."""
    people: list[Track] = []
    for track in sorted(tracks, key=len, reverse=True):
        if not any(track in continuations(person, [track]) for person in people):
            people.append(track)
    return sorted(people, key=lambda track: track.centre[0])


def _link(tracks: Sequence[Track], detections: Sequence[Detection]) -> dict[int, Track]:
    """Assign detections (by index) to tracks, pairs with the largest overlap first."""
    pairs = []
    for number, track in enumerate(tracks):
        for i, detection in enumerate(detections):
            overlap = intersection_over_union(track.last_box, detection.box)
            if overlap >= _LINK_OVERLAP:
                pairs.append((overlap, number, i))
    linked: dict[int, Track] = {}
    used: set[int] = set()
    for _, number, i in sorted(pairs, key=lambda pair: -pair[0]):
        if number not in used and i not in linked:
            linked[i] = tracks[number]
            used.add(number)
    return linked


def shown_in(tracks: Iterable[Track], num_frames: int) -> np.ndarray:
    """Return (num_frames,) bool: True from the first to the last frame of each track."""
    shown = np.zeros(num_frames, dtype=bool)
    for track in tracks:
        shown[track.frames[0] : track.last_frame + 1] = True
    return shown


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union, 0 to 1, of two boxes (4,) x0, y0, x1, y1."""
    shared = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0).prod()
    whole = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - shared
    return float(shared / whole) if whole > 0 else 0.0
