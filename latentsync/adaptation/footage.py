"""Footage of a person: the followed face of videos, cut into training clips of a few seconds each."""

import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.data.clip_check import TrainingClip
from latentsync.data.video_window import read_frames
from latentsync.errors import InputError
from latentsync.face.align import Aligner, crop_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.face_plan import FacePlan
from latentsync.face.tracker import SeveralPeopleError
from latentsync.judges.crop_measures import to_crops
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.training_clip import write_training_clip
from latentsync.pipelines.face_pass import find_face
from latentsync.storage.temporary_files import temporary_folder

FPS = 25
MIN_SECONDS = 3
"""Least footage of the face, in seconds."""
MAX_PIECE_FRAMES = 75
"""Longest clip: items of a training are drawn clip by clip, so clips should be of similar length."""

StageProgress = Callable[[str, int, int], None]
"""Called with the stage, and its finished and all frames (or seconds, or steps)."""


@dataclass(frozen=True)
class Footage:
    """Training clips and the held-out clip of a person."""

    clips: list[TrainingClip]
    held_out: TrainingClip

    @property
    def all_clips(self) -> list[TrainingClip]:
        """The training clips and the held-out clip."""
        return [*self.clips, self.held_out]

    @property
    def seconds(self) -> float:
        """Length of all clips."""
        return sum(clip.num_frames for clip in self.all_clips) / FPS

    def check_frames(self, num_frames: int, resolution: int) -> NDArray[np.uint8]:
        """Return the crops (f, R, R, 3) of whole clips, the held-out one first, until there are `num_frames`."""
        parts: list[NDArray[np.uint8]] = []
        for clip in (self.held_out, *self.clips):
            if sum(map(len, parts)) < num_frames:
                parts.append(read_frames(clip.path, range(clip.num_frames), resolution))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Piece:
    """Frames [start, stop) of a video in which the face is visible without a gap."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def plan_pieces(segments: Sequence[tuple[int, int]], min_frames: int) -> list[Piece]:
    """Cut segments (start, stop) into pieces of equal length, of `min_frames` to about `MAX_PIECE_FRAMES` frames.

    If there would be only one, it is cut in two if it is long enough, since the last piece of all is held out.
    """
    pieces = []
    longest = max(MAX_PIECE_FRAMES, 2 * min_frames)
    for start, stop in segments:
        number = -(-(stop - start) // longest)
        bounds = np.linspace(start, stop, number + 1).round().astype(int).tolist()
        pieces += [Piece(low, high) for low, high in pairwise(bounds) if high - low >= min_frames]
    if len(pieces) == 1 and len(pieces[0]) >= 2 * min_frames:
        start, stop = pieces[0].start, pieces[0].stop
        middle = stop - max(min_frames, (stop - start) // 4)
        pieces = [Piece(start, middle), Piece(middle, stop)]
    return pieces


def cut_footage(
    video: Path,
    folder: Path,
    detector: FaceDetector,
    selector: str,
    resolution: int,
    min_frames: int,
    progress: StageProgress,
) -> list[Path]:
    """Write the clips of the followed face of a video into a folder; memory holds a few frames.

    Args:
        video: the video; without audio the clips are silent.
        folder: of the clips, which are named by their first frame; existing ones are written again.
        detector: face detector.
        selector: face to follow, see `latentsync.face.tracker.select_track`.
        resolution: side of the crops in pixels.
        min_frames: smallest number of frames of a clip.
        progress: receives the finished frames.

    Returns:
        The clips in the order of the video.

    Raises:
        InputError: the video cannot be used, shows the face for too short a time, or shows several people and the
            selector is ``only``.
    """
    info, fps = probe_video(video), Fraction(FPS)
    try:
        plan = find_face(info, fps, detector, selector, progress=lambda done, total: progress("faces", done, total))
    except SeveralPeopleError as error:
        raise InputError(f"{video}: {error}") from error
    pieces = plan_pieces(plan.segments(), min_frames)
    if sum(map(len, pieces)) < MIN_SECONDS * FPS:
        seconds = sum(stop - start for start, stop in plan.segments()) / FPS
        raise InputError(
            f"{video} shows the face for {seconds:.1f} s, of which {sum(map(len, pieces)) / FPS:.1f} s can be used: "
            f"give at least {MIN_SECONDS} s without cuts and gaps"
        )
    paths = []
    with (
        temporary_folder(folder, "name another --out") as temporary,
        VideoReader(video, fps, pieces[-1].stop, info=info) as reader,
        ExitStack() as stack,
    ):
        sound = stack.enter_context(AudioSamples.decode(video, temporary, info.late_s)) if info.has_audio else None
        frames = enumerate(reader)
        for piece in pieces:
            path, speech = folder / f"{piece.start:06d}.mp4", temporary / "speech.wav"
            _write_wav(speech, _samples(sound, piece))
            write_training_clip(_crops(frames, piece, plan, resolution), resolution, speech, path, FPS)
            progress("clips", piece.stop, pieces[-1].stop)
            paths.append(path)
    return paths


def _crops(
    frames: Iterator[tuple[int, NDArray[np.uint8]]], piece: Piece, plan: FacePlan, resolution: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the aligned crops of a piece; `frames` is advanced to its end."""
    aligner = Aligner(resolution)
    for index, frame in frames:
        if index >= piece.start:
            matrix = aligner.matrix(plan.anchors[index])
            yield to_crops(crop_faces([frame], matrix[None], resolution))[0]
        if index == piece.stop - 1:
            return


def _samples(sound: AudioSamples | None, piece: Piece) -> NDArray[np.float32]:
    """Return the samples of a piece; silence where there is no audio."""
    start, stop = (frame * SAMPLE_RATE // FPS for frame in (piece.start, piece.stop))
    samples = np.zeros(stop - start, dtype=np.float32)
    if sound is not None and start < sound.num_samples:
        read = sound.read(start, min(stop, sound.num_samples))
        samples[: len(read)] = read
    return samples


def _write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(SAMPLE_RATE)
        target.writeframes((samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
