"""Spoils ground truth in known ways, to see which metrics notice: wrong or shifted sound, blur, a mouth that rests."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from demo.synthetic.speech import write_wav
from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.face_geometry import FRAMES_PER_SECOND
from eval.pairs import Pair
from eval.protocols import derangement
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.paste import FacePaster
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.writer import VideoWriter
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import cache_key

SHIFT_FRAMES = 5
BLUR_SHARE = 0.012
"""Standard deviation of the blur, as a share of the shorter side of the frame."""

LATE, EARLY, BLURRED = f"audio_{SHIFT_FRAMES}_late", f"audio_{SHIFT_FRAMES}_early", "blurred"
RANDOM_AUDIO, FROZEN = "random_audio", "frozen_mouth"
DAMAGES = (LATE, EARLY, BLURRED, RANDOM_AUDIO, FROZEN)
"""Rows of damaged ground truth, as they are called in reports."""

_VERSION = 1
"""Counted up when a damage changes."""
_CRF = 10

Frames = Iterator[np.ndarray]


def damaged_pairs(truths: Sequence[Pair], clips: FaceClips, folder: Path, seed: int) -> list[Pair]:
    """Every ground truth in all damaged forms; files are made in the folder where they are not there.

    Args:
        truths: pairs whose result is the ground truth.
        clips: tells where the faces are.
        folder: for sound and video files, named by content.
        seed: decides who gets whose sound.

    Raises:
        InputError: there are fewer than two, or a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = derangement(len(truths), seed)
    found = []
    for pair, other in zip(truths, others, strict=True):
        found += [
            replace(pair, row=LATE, audio=shifted_sound(pair.audio, SHIFT_FRAMES, clips, folder)),
            replace(pair, row=EARLY, audio=shifted_sound(pair.audio, -SHIFT_FRAMES, clips, folder)),
            replace(pair, row=RANDOM_AUDIO, audio=truths[other].audio),
            replace(pair, row=BLURRED, result=_remade(BLURRED, pair, clips, folder, blurred)),
            replace(pair, row=FROZEN, result=_remade(FROZEN, pair, clips, folder, partial(frozen, pair, clips))),
        ]
    return found


def shifted_sound(audio: Path, num_frames: int, clips: FaceClips, folder: Path) -> Path:
    """The sound so many video frames later (earlier where negative), of the same length, silent where it begins."""
    path = folder / f"{cache_key('shifted', _VERSION, clips.content_key(audio), num_frames)[:20]}.wav"
    if not path.is_file():
        with AudioSamples.decode(audio) as samples, atomic_write(path) as beside:
            start = -num_frames * SAMPLES_PER_FRAME
            write_wav(beside, samples.read(start, start + samples.num_samples))
    return path


def blurred(frames: Frames) -> Frames:
    """Frames (h, w, 3) uint8 as if out of focus."""
    for frame in frames:
        deviation = BLUR_SHARE * min(frame.shape[:2])
        yield np.asarray(cv2.GaussianBlur(frame, (0, 0), deviation))


def frozen(pair: Pair, clips: FaceClips, frames: Frames) -> Frames:
    """Frames whose lower face is that of the first one with a face, moving with the head."""
    matrices = alignment_matrices(clips.geometry(pair.source).anchors, clips.resolution)
    paster = FacePaster(clips.resolution, clips.device)
    mouth = None
    for index, frame in enumerate(frames):
        if index >= len(matrices) or np.isnan(matrices[index]).any():
            yield frame
            continue
        if mouth is None:
            mouth = crop_faces([frame], matrices[index : index + 1], clips.resolution, clips.device)[0]
        yield paster.paste(frame, mouth, matrices[index])


def _remade(damage: str, pair: Pair, clips: FaceClips, folder: Path, change: Callable[[Frames], Iterable]) -> Path:
    """The video with changed frames and its own sound; named by what it is made of."""
    keys = (clips.content_key(pair.result), clips.content_key(pair.source), clips.settings_key)
    path = folder / f"{damage}-{cache_key(damage, _VERSION, *keys)[:20]}.mp4"
    if not path.is_file():
        with (
            clips.frames(pair.result) as reader,
            VideoWriter(path, reader.width, reader.height, FRAMES_PER_SECOND, crf=_CRF) as writer,
        ):
            for frame in change(iter(reader)):
                writer.write(frame)
    return path
