"""Damage ground truth in known ways to test metrics: wrong or shifted audio, blur, a frozen mouth."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from demo.synthetic.speech import write_wav
from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.face_geometry import FRAMES_PER_SECOND
from eval.jobs import derangement
from eval.pairs import Pair
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
"""Row names of damaged ground truth in reports."""

_VERSION = 1
"""Incremented when a damage changes."""
_CRF = 10

Frames = Iterator[np.ndarray]


def damaged_pairs(truths: Sequence[Pair], clips: FaceClips, folder: Path, seed: int) -> list[Pair]:
    """Return every ground truth with every damage; missing files are created in the folder.

    Args:
        truths: pairs whose result is the ground truth.
        clips: face positions.
        folder: folder of the damaged audio and video files, which are named by content.
        seed: determines which video gets which other video's audio.

    Raises:
        InputError: there are fewer than two ground truths, or a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = derangement(len(truths), seed)
    found = []
    for pair, other in zip(truths, others, strict=True):
        found += [
            replace(pair, row=LATE, audio=shifted_audio(pair.audio, SHIFT_FRAMES, clips, folder)),
            replace(pair, row=EARLY, audio=shifted_audio(pair.audio, -SHIFT_FRAMES, clips, folder)),
            replace(pair, row=RANDOM_AUDIO, audio=truths[other].audio),
            replace(pair, row=BLURRED, result=_damaged_video(BLURRED, pair, clips, folder, blurred)),
            replace(pair, row=FROZEN, result=_damaged_video(FROZEN, pair, clips, folder, partial(frozen, pair, clips))),
        ]
    return found


def shifted_audio(audio: Path, num_frames: int, clips: FaceClips, folder: Path) -> Path:
    """Return the audio delayed by some video frames (negative: advanced), zero-padded to the same length."""
    path = folder / f"{cache_key('shifted', _VERSION, clips.content_key(audio), num_frames)[:20]}.wav"
    if not path.is_file():
        with AudioSamples.decode(audio) as samples, atomic_write(path) as temporary:
            start = -num_frames * SAMPLES_PER_FRAME
            write_wav(temporary, samples.read(start, start + samples.num_samples))
    return path


def blurred(frames: Frames) -> Frames:
    """Yield the frames (h, w, 3) uint8 with a Gaussian blur."""
    for frame in frames:
        deviation = BLUR_SHARE * min(frame.shape[:2])
        yield np.asarray(cv2.GaussianBlur(frame, (0, 0), deviation))


def frozen(pair: Pair, clips: FaceClips, frames: Frames) -> Frames:
    """Yield the frames with the lower face of the first valid frame, which moves with the head."""
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


def _damaged_video(
    damage: str, pair: Pair, clips: FaceClips, folder: Path, change: Callable[[Frames], Iterable]
) -> Path:
    """Return the video with changed frames, named by the contents and settings that determine it."""
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
