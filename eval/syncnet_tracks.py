"""Face tracks and their crops as the published SyncNet evaluation makes them, of a video whose faces are known."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.face_geometry import FaceGeometry
from latentsync.judges.face_tracks import CROP_SIZE, FaceTrack, FaceTrackConfig, crop_square, crop_squares, link_tracks

LOWEST_SCORE = 0.9
"""Detections below this score do not count."""


@dataclass(frozen=True)
class TrackCrops:
    """Crops of one track.

    Attributes:
        first_frame: of the track, in the video.
        crops: (n, 224, 224, 3) uint8 RGB, a memory map.
    """

    first_frame: int
    crops: np.ndarray


def find_tracks(geometry: FaceGeometry, config: FaceTrackConfig | None = None) -> list[FaceTrack]:
    """The tracks of all shots of a video, in the order in which they begin; the published thresholds by default."""
    boxes = [np.empty((0, 4))] * len(geometry)
    sure = geometry.rows[geometry.rows[:, 5] >= LOWEST_SCORE]
    for frame in np.unique(sure[:, 0]).astype(int):
        boxes[frame] = sure[sure[:, 0] == frame, 1:5]
    tracks = []
    for start, stop in geometry.shots():
        found = link_tracks(boxes[start:stop], config)
        tracks += [replace(track, first_frame=track.first_frame + start) for track in found]
    return tracks


def track_crops(frames: Iterable[np.ndarray], tracks: list[FaceTrack], folder: Path) -> list[TrackCrops]:
    """The crops of all tracks in one pass over a video; a track that the video ends before is cut short there.

    Args:
        frames: all frames from the beginning, uint8 RGB (h, w, 3).
        tracks: of this video, or of one with the same frames.
        folder: where the crops are written, 150 kB each; they are gone with the folder.
    """
    squares = [crop_squares(track) for track in tracks]
    files = [(folder / f"track_{number:05d}").open("wb") for number in range(len(tracks))]
    try:
        for number, frame in enumerate(frames):
            for track, square, file in zip(tracks, squares, files, strict=True):
                if track.first_frame <= number < track.stop_frame:
                    file.write(crop_square(frame, *square[number - track.first_frame].tolist()).tobytes())
    finally:
        for file in files:
            file.close()
    shape = (CROP_SIZE, CROP_SIZE, 3)
    made = []
    for track, file in zip(tracks, files, strict=True):
        num_crops = Path(file.name).stat().st_size // int(np.prod(shape))
        if num_crops:
            made.append(TrackCrops(track.first_frame, np.memmap(file.name, np.uint8, "r", shape=(num_crops, *shape))))
    return made
