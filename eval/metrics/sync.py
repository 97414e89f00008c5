"""LSE-C, LSE-D and offset by SyncNet-v2: sync confidence and distance (no unit), offset in frames of 40 ms."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.face_geometry import FaceGeometry
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity
from eval.pairs import Pair
from latentsync.errors import InputError, NotMeasured
from latentsync.judges.face_tracks import CROP_SIZE, FaceTrack, FaceTrackConfig, crop_square, crop_squares, link_tracks
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import CHECKPOINTS

MIN_SCORE = 0.9
"""Detections below this score are ignored."""


@dataclass(frozen=True)
class TrackCrops:
    """Crops of one face track.

    Attributes:
        first_frame: first frame of the track in the video.
        crops: (n, 224, 224, 3) uint8 RGB, a memory map.
    """

    first_frame: int
    crops: np.ndarray


def find_tracks(geometry: FaceGeometry, config: FaceTrackConfig | None = None) -> list[FaceTrack]:
    """Return the face tracks of all shots of a video in temporal order, by default with the published thresholds."""
    boxes = [np.empty((0, 4))] * len(geometry)
    sure = geometry.rows[geometry.rows[:, 5] >= MIN_SCORE]
    for frame in np.unique(sure[:, 0]).astype(int):
        boxes[frame] = sure[sure[:, 0] == frame, 1:5]
    tracks = []
    for start, stop in geometry.shots():
        found = link_tracks(boxes[start:stop], config)
        tracks += [replace(track, first_frame=track.first_frame + start) for track in found]
    return tracks


def track_crops(frames: Iterable[np.ndarray], tracks: list[FaceTrack], folder: Path) -> list[TrackCrops]:
    """Crop all tracks in one pass over a video; tracks beyond the end of the video are truncated.

    Args:
        frames: all frames from the beginning, uint8 RGB (h, w, 3).
        tracks: tracks of this video, or of one with the same frames.
        folder: folder for the crops, 150 kB each; they are lost with the folder.
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
    found = []
    for track, file in zip(tracks, files, strict=True):
        num_crops = Path(file.name).stat().st_size // int(np.prod(shape))
        if num_crops:
            found.append(TrackCrops(track.first_frame, np.memmap(file.name, np.uint8, "r", shape=(num_crops, *shape))))
    return found


def track_scores(video: Path, audio: Path, clips: FaceClips, scorer: SyncScorer) -> list[tuple[int, SyncScore]]:
    """Return (number of frames, score) of every face track of a video, with the published protocol's crops.

    Raises:
        NotMeasured: no face track is long and large enough.
    """
    tracks = find_tracks(clips.geometry(video))
    if not tracks:
        raise NotMeasured("no face is followed for more than 50 frames at over 100 pixels")
    samples = clips.samples(audio, video)
    scores = []
    with temporary_folder(remedy="set TMPDIR to another folder") as folder, clips.frames(video) as frames:
        for one in track_crops(frames, tracks, folder):
            start = one.first_frame * SAMPLES_PER_FRAME
            spoken = samples[start : start + len(one.crops) * SAMPLES_PER_FRAME]
            try:
                scores.append((len(one.crops), scorer.score(one.crops, spoken)))
            except InputError:  # the audio ends before this track, or within its first window
                continue
    if not scores:
        raise NotMeasured("the speech ends before the first face track")
    return scores


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    scorer = SyncNetV2Scorer(load_syncnet_v2(files[0], device))

    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        scores = track_scores(pair.result, pair.audio, clips, scorer)
        longest = max(scores, key=lambda one: one[0])[1]
        return {
            "lse_c": float(np.mean([score.confidence for _, score in scores])),
            "lse_d": float(np.mean([score.distance for _, score in scores])),
            "lse_offset": float(longest.offset),
        }

    return measure


METRIC = NetworkMetric(
    name="sync",
    quantities=(
        Quantity("lse_c", "", True, "sync confidence (LSE-C): median less minimum of the distance over shifts"),
        Quantity("lse_d", "", False, "sync distance (LSE-D): the minimum over shifts"),
        Quantity("lse_offset", "frames", None, "shift of the best agreement, of the longest track", 0.0),
    ),
    description="SyncNet-v2 confidence (LSE-C), distance (LSE-D) and offset",
    protocol=(
        "The published protocol (syncnet_python): S3FD faces, tracks of more than 50 frames and over 100 px, "
        "SyncNet-v2 over shifts of up to 15 frames. Ours is the same, averaged over the tracks of a video. Faces come "
        "from S3FD (at a reduced size of 640 px) only with the face_alignment detector, otherwise from MTCNN. The "
        "audio is the driving audio."
    ),
    files=(CHECKPOINTS / "auxiliary" / "syncnet_v2.model",),
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
