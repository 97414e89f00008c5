"""Bank of speech: audio features of recordings, with the mouth predicted from the speech at every moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.adaptation.mouth_matching import Mouths, match_mouths
from latentsync.audio.mouth_track import mouth_track, sample_track
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures, frame_rows
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.errors import InputError
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples

MAX_SECONDS = 600.0
"""Speech beyond this length is not read: ten minutes have every mouth many times."""

_MIN_SECONDS = 1
_BLOCK_FRAMES = 25
_USED_SHARE = 0.5


@dataclass(frozen=True)
class SpeechBank:
    """Recorded speech, frame by frame at the rate of the video.

    Attributes:
        rows: (r, layers+1, width) float16 audio features of all recordings, one row per 20 ms.
        frame_rows: (n, 10) numbers of the rows of each frame.
        mouths: (n, 2) float32 opening and width predicted from the speech.
        is_start: (n,) True for the first frame of a recording.
    """

    rows: NDArray[np.float16]
    frame_rows: NDArray[np.int64]
    mouths: Mouths
    is_start: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mouths)

    def tokens(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the audio tokens (f, 10 (layers+1), width) of frames of the bank."""
        rows = self.rows[self.frame_rows[frames]]
        return rows.reshape(len(frames), -1, rows.shape[-1]).astype(np.float32)

    def draw(self, footage: Mouths, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return frames (f,) of the bank with the mouths of a video's frames (f, 2), from a random half of the bank."""
        used = rng.random(-(-len(self) // _BLOCK_FRAMES)) < _USED_SHARE
        used[rng.integers(len(used))] = True
        return match_mouths(footage, self.mouths, self.is_start, np.repeat(used, _BLOCK_FRAMES)[: len(self)])


def build_bank(recordings: Sequence[Path], encoder: WhisperEncoder, fps: int = 25) -> SpeechBank:
    """Build the bank of speech recordings.

    Args:
        recordings: audio files, or videos with audio.
        encoder: the audio encoder of the U-Net.
        fps: frames per second of the video.

    Raises:
        InputError: a recording cannot be read, is too short, or is silent.
    """
    rows: list[NDArray[np.float16]] = []
    numbers: list[NDArray[np.int64]] = []
    mouths: list[Mouths] = []
    seconds = 0.0
    for path in recordings:
        samples = read_speech(path, MAX_SECONDS - seconds)
        seconds += len(samples) / SAMPLE_RATE
        features = WhisperFeatures(encoder, ArraySamples(samples))
        num_frames = len(samples) * fps // SAMPLE_RATE
        offset = sum(map(len, rows))
        rows.append(features.rows(0, features.num_rows).half().cpu().numpy())
        numbers.append(offset + np.array([frame_rows(i, fps, features.num_rows) for i in range(num_frames)]))
        mouths.append(speech_mouths(samples, num_frames, fps))
        if seconds > MAX_SECONDS - _MIN_SECONDS:
            break
    starts = np.cumsum([0, *map(len, mouths[:-1])])
    is_start = np.zeros(sum(map(len, mouths)), dtype=bool)
    is_start[starts] = True
    return SpeechBank(np.concatenate(rows), np.concatenate(numbers), np.concatenate(mouths), is_start)


def speech_mouths(samples: NDArray[np.float32], num_frames: int, fps: int = 25) -> Mouths:
    """Return the mouth (num_frames, 2) predicted from speech (s,) at 16 kHz, see `latentsync.audio.mouth_track`."""
    return sample_track(mouth_track(samples), np.arange(num_frames) / fps)


def read_speech(path: Path, max_seconds: float) -> NDArray[np.float32]:
    """Read speech (s,) float32 in [-1, 1) at 16 kHz.

    Raises:
        InputError: the file cannot be read, lasts less than a second, or is silent.
    """
    with AudioSamples.decode(path) as source:
        samples = source.read(0, min(source.num_samples, round(max_seconds * SAMPLE_RATE)))
    if len(samples) < _MIN_SECONDS * SAMPLE_RATE:
        raise InputError(f"{path} lasts less than a second: name longer speech")
    if not mouth_track(samples)[:, 0].any():
        raise InputError(f"{path} is silent: name a recording of speech")
    return samples
