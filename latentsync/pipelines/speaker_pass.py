"""The pass that finds who speaks: it reads the source video once more and compares every face with its sound."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.sample_source import SampleSource
from latentsync.errors import InputError
from latentsync.face.covered import covered_frames
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.frames import reduced_size
from latentsync.face.identity import TrackedPerson
from latentsync.face.tracker import Track, shown_in
from latentsync.judges.active_speaker import (
    MIN_CONFIDENCE,
    NOBODY,
    STRIDE,
    ActiveSpeakerScorer,
    FaceScores,
    StreamingSyncNet,
    confident_level,
    who_speaks,
)
from latentsync.judges.face_crops import FaceCrops
from latentsync.judges.stable_sync_scorer import check_stable_sync_scorer, load_stable_sync_scorer
from latentsync.judges.syncnet_v2 import load_syncnet_v2
from latentsync.judges.syncnet_v2_windows import load_syncnet_v2_windows
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import VideoInfo, probe_audio
from latentsync.media.reader import VideoReader
from latentsync.prefetch import prefetch
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT, published_files

logger = logging.getLogger(__name__)

_LONGEST_SIDE = 1280
_FRAMES_AHEAD = 4
_BYSTANDER_AREA = 1 / 16
"""Faces below this share of the area of their scene's largest face are not scored."""

_MIN_SOUND_SHARE, _MAX_SOUND_SHARE = 0.5, 2.0
"""Length of the sound, relative to the video, outside of which they do not belong together."""

_UNKNOWN_WINDOWS = 6
"""Windows before the first and after the last scored one of a track that take over its score."""

_STABLE, _SYNCNET_V2 = "stable_syncnet.pt", "auxiliary/syncnet_v2.model"
_PUBLISHED_CONFIG = "configs/syncnet/syncnet_16_pixel_attn.yaml"
_DEMO_CONFIG, _DEMO_CHECKPOINT = "configs/demo/syncnet.yaml", "demo/stable_syncnet.pt"
_DEMO_NAME = "the demo SyncNet"


@dataclass(frozen=True)
class Turn:
    """Frames start to stop (excluded) in which one person is followed."""

    person: int
    start: int
    stop: int


@dataclass(frozen=True)
class Speakers:
    """Who is followed, and why.

    Attributes:
        tracks: parts of tracks to follow, one per turn and track; they do not overlap in time.
        turns: of the people, in order; empty with a fallback.
        network: name of the SyncNet that scored the faces; empty if none was needed.
        fallback: one line for the report if the largest face is followed instead, else None.
    """

    tracks: Sequence[Track]
    turns: Sequence[Turn]
    network: str = ""
    fallback: str | None = None

    def notes(self, num_frames: int) -> dict[str, np.ndarray]:
        """Return the turns of each person, or the reason of the fallback, with (num_frames,) bool of their frames."""
        if self.fallback is not None:
            return {self.fallback: np.ones(num_frames, dtype=bool)}
        frames: dict[str, np.ndarray] = {}
        for turn in self.turns:
            name = f"person {turn.person + 1} speaks, by {self.network}"
            frames.setdefault(name, np.zeros(num_frames, dtype=bool))[turn.start : turn.stop] = True
        return dict(sorted(frames.items()))

    def covered(self, found: FaceTracks) -> np.ndarray:
        """Return (n,) bool: True where the head of somebody nearer overlaps the mouth of the followed person."""
        covered = np.zeros(found.num_frames, dtype=bool)
        for track in self.tracks:
            others = [other for other in found.tracks if other.person != track.person]
            covered |= covered_frames([track], others, found.num_frames)
        return covered


def load_speaker_network(device: torch.device | str = "cpu", checkpoints: Path = CHECKPOINTS) -> StreamingSyncNet:
    """Load the published StableSyncNet if it is here, else SyncNet-v2, else the demo SyncNet; nothing is downloaded.

    Raises:
        CheckpointError: the weights are damaged, or those of the demo are missing.
    """
    if (stable := _published(_STABLE, checkpoints)) is not None:
        return load_stable_sync_scorer(REPOSITORY_ROOT / _PUBLISHED_CONFIG, stable, device, name=_STABLE)
    if (syncnet_v2 := _published(_SYNCNET_V2, checkpoints)) is not None:
        return load_syncnet_v2_windows(syncnet_v2, device)
    return load_stable_sync_scorer(
        REPOSITORY_ROOT / _DEMO_CONFIG, checkpoints / _DEMO_CHECKPOINT, device, name=_DEMO_NAME
    )


def check_speaker_network(checkpoints: Path = CHECKPOINTS) -> None:
    """Raise the errors of `load_speaker_network`; a StableSyncNet is not loaded for it, SyncNet-v2 (54 MB) is."""
    if (stable := _published(_STABLE, checkpoints)) is not None:
        check_stable_sync_scorer(REPOSITORY_ROOT / _PUBLISHED_CONFIG, stable)
    elif (syncnet_v2 := _published(_SYNCNET_V2, checkpoints)) is not None:
        load_syncnet_v2(syncnet_v2)
    else:
        check_stable_sync_scorer(REPOSITORY_ROOT / _DEMO_CONFIG, checkpoints / _DEMO_CHECKPOINT)


def _published(path: str, checkpoints: Path) -> Path | None:
    """Return the weights of a published SyncNet, or None if they are not here."""
    return next(file for file in published_files() if file.path == path).find(checkpoints)


def follow_speakers(
    video: VideoInfo,
    fps: Fraction,
    found: FaceTracks,
    load_network: Callable[[], StreamingSyncNet],
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Speakers:
    """Return the parts of the tracks in which their people speak, by the sound of the source itself.

    Without usable sound or a confident score the largest face is followed, as with the selector ``largest``.

    Args:
        video: the source.
        fps: frames per second at which the tracks were found.
        found: faces of the source.
        load_network: loads the SyncNet; called only if the source has sound.
        folder: folder for temporary files.
        progress: called with the number of finished frames and of all frames.

    Raises:
        InputError: the sound cannot be decoded.
    """
    reason = _unusable_sound(video)
    if reason is None:
        with AudioSamples.decode(video.path, folder, video.late_s) as samples:
            network = load_network()
            people, confidences = score_people(video, fps, found, network, samples, progress)
        if confident_level(confidences, network.fps / STRIDE) >= MIN_CONFIDENCE:
            visible = np.stack([shown_in(person.tracks, found.num_frames) for person in people])
            path = spoken_frames(confidences, visible, fps, network)
            turns = list(_turns(path, people))
            return Speakers(turn_tracks(turns, people), turns, network.name)
        reason = f"no face moves its lips with the sound of the source, by {network.name}"
    fallback = f"who speaks is unknown ({reason}): the largest face is followed"
    return Speakers(found.follow("largest"), [], fallback=fallback)


def score_people(
    video: VideoInfo,
    fps: Fraction,
    found: FaceTracks,
    network: StreamingSyncNet,
    samples: SampleSource,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[TrackedPerson], np.ndarray]:
    """Score every person over time; memory holds a few frames, one window of each visible face, and numbers.

    Returns:
        The people, and the confidences (people, n) of windows that begin at every `STRIDE`-th frame of the SyncNet's
        rate; NaN where a person has no window.
    """
    scorer = ActiveSpeakerScorer(network, samples)
    tracks = [track for scene in found.scenes() for track in _scored(scene, network.num_frames)]
    moving = _MovingFaces(tracks, float(fps), network)
    size = reduced_size(video.width, video.height, _LONGEST_SIDE)
    flags = SCALE_FLAGS if size == (video.width, video.height) else REDUCE_FLAGS
    factors = np.array([size[0] / video.width, size[1] / video.height])
    tick = 0
    with (
        VideoReader(video.path, fps, found.num_frames, size, scale_flags=flags, info=video) as reader,
        closing(prefetch(iter(reader), _FRAMES_AHEAD)) as frames,
    ):
        for i, frame in enumerate(frames):
            crops = moving.crops(i, frame, factors)
            while int(tick * fps / network.fps) <= i:
                scorer.add(tick, crops)
                tick += 1
            if progress is not None:
                progress(i + 1, found.num_frames)
    scorer.flush()
    people = found.people()
    return people, _by_person(people, tracks, scorer.scores, tick // STRIDE + 1)


def spoken_frames(confidences: np.ndarray, visible: np.ndarray, fps: Fraction, network: StreamingSyncNet) -> np.ndarray:
    """Return the person (n,) who is followed in every source frame, `NOBODY` where nobody is.

    Args:
        confidences: (people, windows), see `score_people`.
        visible: (people, n) bool.
        fps: frames per second of the source frames.
        network: that of the confidences.
    """
    num_windows, num_frames = confidences.shape[1], visible.shape[1]
    middles = _window_middles(num_windows, fps, network)
    path = who_speaks(confidences, visible[:, np.minimum(middles, num_frames - 1)], network.fps / STRIDE)
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, np.arange(num_frames))
    return path[nearest]


def turn_tracks(turns: Sequence[Turn], people: Sequence[TrackedPerson]) -> list[Track]:
    """Return the parts of the tracks of these turns, in time order."""
    followed: list[Track] = []
    for turn in turns:
        for track in people[turn.person].tracks:
            start, stop = max(turn.start, int(track.frames[0])), min(turn.stop, track.last_frame + 1)
            if start < stop and len(part := track.part(start, stop)):
                followed.append(part)
    return followed


def _window_middles(num_windows: int, fps: Fraction, network: StreamingSyncNet) -> np.ndarray:
    """Return the source frames (n,) in the middle of the windows, which begin `STRIDE` frames of the SyncNet apart."""
    middles = np.arange(num_windows) * STRIDE + (network.num_frames - 1) / 2
    return np.round(middles * float(fps) / network.fps).astype(int)


def _unusable_sound(video: VideoInfo) -> str | None:
    """Return why the sound of a video cannot be compared with its faces, or None."""
    try:
        sound = probe_audio(video.path)
    except InputError:
        return "the source has no sound"
    share = sound.duration_s / video.duration_s if sound.duration_s > 0 and video.duration_s > 0 else 1.0
    if not _MIN_SOUND_SHARE <= share <= _MAX_SOUND_SHARE:
        return f"the sound of the source lasts {sound.duration_s:.1f} s, its video {video.duration_s:.1f} s"
    return None


def _scored(scene: Sequence[Track], num_frames: int) -> list[Track]:
    """Return the tracks of a scene that are long and large enough to be scored."""
    largest = max(track.area for track in scene)
    return [track for track in scene if len(track) >= num_frames // 2 and track.area >= _BYSTANDER_AREA * largest]


class _MovingFaces:
    """Crops of the tracks that are visible in the current frame."""

    def __init__(self, tracks: Sequence[Track], fps: float, network: StreamingSyncNet) -> None:
        self._tracks, self._fps, self._network = tracks, fps, network
        self._order = sorted(range(len(tracks)), key=lambda number: -int(tracks[number].frames[0]))
        self._active: dict[int, FaceCrops] = {}

    def crops(self, frame: int, image: np.ndarray, factors: np.ndarray) -> dict[int, Tensor]:
        """Return the crops (3, R, R) in [-1, 1] of the next frame, by number of the track.

        Args:
            frame: number of the frame.
            image: uint8 RGB (h, w, 3), possibly reduced.
            factors: (2,) from pixels of the source to those of the image.
        """
        while self._order and int(self._tracks[self._order[-1]].frames[0]) <= frame:
            number = self._order.pop()
            self._active[number] = self._network.face_crops(self._tracks[number], self._fps)
        self._active = {n: crops for n, crops in self._active.items() if frame <= self._tracks[n].last_frame}
        firsts = {number: int(self._tracks[number].frames[0]) for number in self._active}
        return {n: crops.crop(frame - firsts[n], image, factors) for n, crops in self._active.items()}


def _by_person(
    people: Sequence[TrackedPerson], tracks: Sequence[Track], scores: dict[int, FaceScores], num_windows: int
) -> np.ndarray:
    """Return the confidences (people, num_windows); short unknown ends of a track take over its nearest score."""
    confidences = np.full((len(people), num_windows), np.nan, dtype=np.float32)
    rows = {id(track): row for row, person in enumerate(people) for track in person.tracks}
    for number, of_face in scores.items():
        row, windows = confidences[rows[id(tracks[number])]], np.array(of_face.starts) // STRIDE
        values = np.array(of_face.confidences, dtype=np.float32)
        low, high = max(windows[0] - _UNKNOWN_WINDOWS, 0), min(windows[-1] + _UNKNOWN_WINDOWS + 1, num_windows)
        span = np.arange(low, high)
        row[span] = np.fmax(row[span], np.interp(span, windows, values))
    return confidences


def _turns(path: np.ndarray, people: Sequence[TrackedPerson]) -> Iterator[Turn]:
    """Yield the turns of a path of person indices."""
    starts = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], len(path)], strict=True):
        if len(path) and path[start] != NOBODY:
            yield Turn(int(path[start]), start, stop)
