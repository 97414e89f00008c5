"""Identify people: tracks grouped by appearance and place, within a scene and across scenes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.face.appearance import AppearanceDescriber
from latentsync.face.crossings import look_of, repaired
from latentsync.face.tracker import Track, continuations

_TOGETHER_FRAMES = 12
"""Frames in which two faces are visible at the same time from which they are two people for certain."""

_AT_ONCE_FRAMES = 12
"""Frames after the first face of a scene within which people count as visible from its start."""


@dataclass(frozen=True)
class TrackedPerson:
    """One person of a video.

    Attributes:
        id: number in the order in which people appear, from left to right if they do so at once, so that the start of
            a video gives the same numbers as the whole; false detections, never described, come last in their scene.
        tracks: of this person, in time order; they do not overlap in time.
    """

    id: int
    tracks: tuple[Track, ...]

    def scenes(self) -> dict[int, list[Track]]:
        """Return the tracks by scene."""
        return {scene: [t for t in self.tracks if t.scene == scene] for scene in sorted({t.scene for t in self.tracks})}


def identified(tracks: Sequence[Track], describer: AppearanceDescriber | None) -> list[Track]:
    """Return the tracks with those of people who cross repaired, and number the person of each.

    A person keeps the number across a cut if the appearance in both scenes is near, and nearer by a margin than that
    of every other person. Tracks that meet no other track are returned unchanged, and all tracks in the order of their
    first frames.

    Args:
        tracks: of all scenes, in the order of their first frames.
        describer: that of the tracks' descriptors; None if they have none: every scene then has new people.
    """
    people: list[list[Track]] = []
    result: list[Track] = []
    for scene in _scenes(tracks):
        chains = repaired(scene)
        groups = _grouped(chains, describer)
        for group, known in zip(groups, _matches(groups, people, describer), strict=True):
            if known is None:
                people.append(group)
            else:
                people[known] += group
        result += [track for chain in chains for track in chain]
    for number, person in enumerate(people):
        for track in person:
            track.person = number
    return result


def people_of(tracks: Iterable[Track]) -> list[TrackedPerson]:
    """Return the people of identified tracks, by number."""
    by_number: dict[int, list[Track]] = {}
    for track in tracks:
        by_number.setdefault(track.person, []).append(track)
    return [
        TrackedPerson(number, tuple(sorted(by_number[number], key=lambda track: track.frames[0])))
        for number in sorted(by_number)
    ]


def others_of(track: Track, tracks: Sequence[Track]) -> list[Track]:
    """Return the tracks of the same scene that are certainly of other people: both are visible at the same time."""
    own = [other for other in tracks if other.person == track.person and other.scene == track.scene]
    others = [other for other in tracks if other.person != track.person and other.scene == track.scene]
    certain = {other.person for other in others if sum(_num_shared(other, mine) for mine in own) >= _TOGETHER_FRAMES}
    return [other for other in others if other.person in certain]


def _scenes(tracks: Sequence[Track]) -> Iterator[list[Track]]:
    for scene in sorted({track.scene for track in tracks}):
        yield [track for track in tracks if track.scene == scene]


def _num_shared(first: Track, second: Track) -> int:
    return len(np.intersect1d(first.frames, second.frames))


def _grouped(chains: Sequence[list[Track]], describer: AppearanceDescriber | None) -> list[list[Track]]:
    """Return the tracks of each person of a scene, in the order of `TrackedPerson.id`.

    A chain joins the person whose appearance is nearest, else one near whom it continues.
    """
    groups: list[list[Track]] = []
    for chain in sorted(chains, key=lambda chain: -sum(len(track) for track in chain)):
        free = [group for group in groups if not _overlap_in_time(group, chain)]
        group = _similar(chain, free, groups, describer) or _continued(chain, free)
        if group is None:
            groups.append(list(chain))
        else:
            group += chain
    start = min((int(track.frames[0]) for group in groups for track in group), default=0)
    return sorted(groups, key=lambda group: _first_place(group, start))


def _first_place(group: Sequence[Track], start: int) -> tuple[bool, int, float]:
    """Return the sort key of a person in a scene that starts at a frame: undescribed, frames after it, and x."""
    first = min(group, key=lambda track: track.frames[0])
    late = max(int(first.frames[0]) - start - _AT_ONCE_FRAMES, 0)
    return not any(track.looks for track in group), late, float(first.boxes[0, 0] + first.boxes[0, 2]) / 2


def _similar(
    chain: list[Track], free: list[list[Track]], groups: list[list[Track]], describer: AppearanceDescriber | None
) -> list[Track] | None:
    """Return the group that looks like the chain and does not overlap it, if no other group looks nearly as similar."""
    if describer is None or not free:
        return None
    distances = np.array([_distance(chain, group) for group in groups])
    order = np.argsort(distances)
    nearest, second = distances[order[0]], distances[order[1]] if len(order) > 1 else np.inf
    group = groups[int(order[0])]
    is_free = any(group is other for other in free)
    return group if is_free and nearest <= describer.same and second - nearest >= describer.margin else None


def _continued(chain: list[Track], free: list[list[Track]]) -> list[Track] | None:
    """Return the first group near which the chain continues, or None."""
    return next((group for group in free if any(chain[0] in continuations(track, [chain[0]]) for track in group)), None)


def _overlap_in_time(first: Sequence[Track], second: Sequence[Track]) -> bool:
    spans = [[(int(track.frames[0]), track.last_frame) for track in part] for part in (first, second)]
    return any(a <= d and c <= b for a, b in spans[0] for c, d in spans[1])


def _distance(first: Sequence[Track], second: Sequence[Track]) -> float:
    """Return the distance of the mean descriptors of two groups of tracks, infinity if one has none."""
    looks = [[look for track in group if (look := look_of(track)) is not None] for group in (first, second)]
    if not all(looks):
        return np.inf
    return float(np.linalg.norm(np.mean(looks[0], axis=0) - np.mean(looks[1], axis=0)))


def _matches(
    groups: Sequence[list[Track]], people: Sequence[list[Track]], describer: AppearanceDescriber | None
) -> list[int | None]:
    """Return for each person of a new scene the index of the known person who looks the same, or None."""
    if describer is None or not groups or not people:
        return [None] * len(groups)
    from scipy.optimize import linear_sum_assignment  # slow to import, and videos of one scene need it never

    distances = np.array([[_distance(group, person) for person in people] for group in groups])
    rows, columns = linear_sum_assignment(np.minimum(distances, 1e3))
    assigned = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [
        column if (column := assigned.get(row)) is not None and _is_certain(distances, row, column, describer) else None
        for row in range(len(groups))
    ]


def _is_certain(distances: np.ndarray, row: int, column: int, describer: AppearanceDescriber) -> bool:
    """Return True if the pair is near, and no other pair of either is nearly as near."""
    here = distances[row, column]
    rivals = np.concatenate([np.delete(distances[row], column), np.delete(distances[:, column], row)])
    return bool(here <= describer.same and (rivals - here >= describer.margin).all())
