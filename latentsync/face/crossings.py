"""Repair the tracks of people who cross: where boxes overlap, overlap alone can link the wrong detections.

Tracks that meet are split where they are closest, and the parts after a meeting are assigned to the parts before it by
appearance, predicted motion, and the tracker's own links, which win where the others do not contradict them. Tracks
that meet no other track are never changed.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from latentsync.face.tracker import MAX_GAP, SHORTEST_TRACK, Track

_MEETING_OVERLAP = 0.1
"""Share of the smaller of two enlarged boxes that the other one covers from which the tracks meet."""

_ENLARGED = 1.5
"""Factor of the boxes: two faces that approach fast can be exchanged before their boxes overlap."""

_HIDDEN_FRAMES = 50
"""Frames for which a person may be hidden behind another one."""

_JUMP_FRAMES = (2, 4)
"""Frames between the compared boxes of two tracks."""

_SHARED_FRAMES = 12
"""Frames at the start of a part that an earlier part may share with it; the earlier part keeps them."""

_NUM_LOOKS = 3
"""Descriptors at a part's end that are averaged."""

_UNKNOWN_DISTANCE = 0.25
"""Distance of two parts of which one has no descriptor."""

_MOTION_FRAMES = 10
_MOTION_WEIGHT, _MOTION_LIMIT = 0.05, 2.0
"""Cost of a predicted place that is off by one side of the face, and the largest such error."""

_KEPT_LINK = 0.1
"""What a link of the tracker is worth."""

_NO_LINK = 0.5
"""Cost of a part that follows no other one. Who appears where people met is mostly one of them."""


def repaired(tracks: Sequence[Track]) -> list[list[Track]]:
    """Return chains of tracks: one for each track that met no other, and one for each person otherwise.

    The tracks of a chain are of one person and do not overlap in time. Between them lies a longer gap than a track
    bridges.

    Args:
        tracks: of one scene, in the order of their first frames.
    """
    splits = _meetings(tracks)
    parts: list[Track] = []
    links: set[tuple[int, int]] = set()
    numbered: list[tuple[int, list[Track]]] = []
    track_of_part: list[int] = []
    for number, (track, frames) in enumerate(zip(tracks, splits, strict=True)):
        if not frames:
            numbered.append((number, [track]))
            continue
        first = len(parts)
        inside = sorted(frame for frame in frames if _is_inside(frame, track))
        edges = [int(track.frames[0]), *inside, track.last_frame + 1]
        parts += [part for start, stop in pairwise(edges) if len(part := track.part(start, stop))]
        links |= set(pairwise(range(first, len(parts))))
        track_of_part += [number] * (len(parts) - first)
    for chain in _chains(parts, links):
        numbered.append((track_of_part[chain[0]], _joined([parts[i] for i in chain])))
    return [chain for _, chain in sorted(numbered, key=lambda pair: (pair[1][0].frames[0], pair[0]))]


def look_of(track: Track) -> np.ndarray | None:
    """Return the mean descriptor of a track, or None if it has none."""
    return np.mean([look for _, look in track.looks], axis=0) if track.looks else None


def _meetings(tracks: Sequence[Track]) -> list[set[int]]:
    """Return for each track the frames at which it is split.

    Empty for a track without a meeting. A frame at or beyond an end splits nothing, but lets the track take part.
    """
    held = [_held_boxes(track) for track in tracks]
    splits: list[set[int]] = [set() for _ in tracks]
    for i in range(len(tracks)):
        for j in range(i + 1, len(tracks)):
            if int(tracks[j].frames[0]) > tracks[i].last_frame + max(_JUMP_FRAMES):
                continue  # never visible together: the later track cannot hide behind the earlier one
            for frame in _closest_frames(held[i], held[j]):
                splits[i].add(frame)
                splits[j].add(frame)
    return [_thinned(frames, track) for frames, track in zip(splits, tracks, strict=True)]


def _held_boxes(track: Track) -> tuple[int, np.ndarray]:
    """Return the first frame and the enlarged boxes (k, 4) of a track; its ends are held while it may be hidden."""
    first = int(track.frames[0]) - _HIDDEN_FRAMES
    span = np.arange(first, track.last_frame + _HIDDEN_FRAMES + 1)
    boxes = track.boxes_at(span)
    margin = (_ENLARGED - 1) / 2 * (boxes[:, 2:] - boxes[:, :2])
    return first, np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


def _closest_frames(first: tuple[int, np.ndarray], second: tuple[int, np.ndarray]) -> Iterator[int]:
    """Yield the frame of closest approach of every meeting of two tracks, whose first frames and boxes are given.

    Tracks whose people were exchanged jump to each other's place: the box of one is compared with the boxes that the
    other one has a few frames earlier and later, too.
    """
    start, stop = max(first[0], second[0]), min(first[0] + len(first[1]), second[0] + len(second[1]))
    boxes = [boxes[start - begin : stop - begin] for begin, boxes in (first, second)]
    if stop <= start:
        return
    coverage = _coverage(*boxes)
    for lag in _JUMP_FRAMES:
        for here, there in (boxes, boxes[::-1]):
            if stop - start > lag:
                np.maximum(coverage[lag:], _coverage(here[lag:], there[:-lag]), out=coverage[lag:])
    for low, high in _runs(coverage >= _MEETING_OVERLAP):
        yield start + low + int(np.argmax(coverage[low:high]))


def _thinned(frames: set[int], track: Track) -> set[int]:
    """Return one frame for those between which the track has no descriptor: such a part would link to any other."""
    clusters: list[list[int]] = []
    for frame in sorted(frames):
        if clusters and not any(clusters[-1][-1] <= at < frame for at, _ in track.looks):
            clusters[-1].append(frame)
        else:
            clusters.append([frame])
    return {cluster[len(cluster) // 2] for cluster in clusters}


def _is_inside(frame: int, track: Track) -> bool:
    """Return True if a split at a frame leaves no end of a track that is too short and has no descriptor."""
    ends = track.part(0, frame), track.part(frame, track.last_frame + 1)
    return all(len(end) >= SHORTEST_TRACK or end.looks for end in ends)


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _coverage(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the share (k,) of the smaller of boxes (k, 4) that the other one covers."""
    shared = (np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])).clip(min=0).prod(1)
    smaller = np.minimum((first[:, 2:] - first[:, :2]).prod(1), (second[:, 2:] - second[:, :2]).prod(1))
    return shared / np.maximum(smaller, 1e-6)


def _chains(parts: Sequence[Track], links: set[tuple[int, int]]) -> list[list[int]]:
    """Return the indices of the parts that follow each other, chain by chain."""
    if not parts:
        return []
    from scipy.optimize import linear_sum_assignment  # slow to import, and most videos need it never

    costs = np.full((len(parts), len(parts)), np.inf)
    for i, before in enumerate(parts):
        for j, after in enumerate(parts):
            is_later = before.last_frame < after.last_frame and before.frames[0] < after.frames[0]
            if is_later and -_SHARED_FRAMES < after.frames[0] - before.last_frame <= _HIDDEN_FRAMES:
                costs[i, j] = _link_cost(before, after) - (_KEPT_LINK if (i, j) in links else 0)
            if (i, j) in links:
                costs[i, j] = min(costs[i, j], _NO_LINK)  # worse than any better link, but better than none
    alone = np.full((len(parts), len(parts)), 1e6)
    np.fill_diagonal(alone, _NO_LINK + 1e-3)
    rows, columns = linear_sum_assignment(np.hstack([np.where(np.isfinite(costs), costs, 1e6), alone]))
    following = {int(i): int(j) for i, j in zip(rows, columns, strict=True) if j < len(parts)}
    chains = []
    for first in range(len(parts)):
        if first not in following.values():
            chain = [first]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            chains.append(chain)
    return chains


def _link_cost(before: Track, after: Track) -> float:
    """Return how unlikely it is that a part continues another one."""
    looks = [look for _, look in before.looks[-_NUM_LOOKS:]], [look for _, look in after.looks[:_NUM_LOOKS]]
    distance = _UNKNOWN_DISTANCE
    if all(looks):
        distance = float(np.linalg.norm(np.mean(looks[0], axis=0) - np.mean(looks[1], axis=0)))
    centres, side = _centres(before)[-_MOTION_FRAMES:], np.sqrt(before.area)
    frames = before.frames[-_MOTION_FRAMES:]
    speed = (centres[-1] - centres[0]) / max(int(frames[-1] - frames[0]), 1)
    predicted = centres[-1] + speed * (after.frames[0] - before.last_frame)
    error = float(np.linalg.norm(_centres(after)[0] - predicted)) / side
    return distance + _MOTION_WEIGHT * min(error, _MOTION_LIMIT)


def _centres(track: Track) -> np.ndarray:
    boxes = track.boxes
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _joined(parts: Sequence[Track]) -> list[Track]:
    """Return tracks of successive parts; a new one begins after a gap that a track does not bridge."""
    tracks: list[Track] = []
    for part in parts:
        if tracks and part.frames[0] <= tracks[-1].last_frame:
            part = part.part(tracks[-1].last_frame + 1, part.last_frame + 1)
        if tracks and part.frames[0] - tracks[-1].last_frame <= MAX_GAP + 1:
            tracks[-1].extend(part)
        else:
            tracks.append(part)
    return [track for track in tracks if len(track) >= SHORTEST_TRACK] or tracks[:1]
