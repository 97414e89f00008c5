"""The videos of the checks before and after a training: footage of the person and what it is made to say."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.adaptation.footage import FPS, Footage
from latentsync.adaptation.speech_bank import MAX_SECONDS, read_speech
from latentsync.data.clip_features import clip_samples
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.weights import locate

MAX_FRAMES = 250
"""Most frames of each video."""

Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class CheckVideo:
    """Footage and what it is made to say.

    Attributes:
        name: such as the name of the recording.
        crops: (f, R, R, 3) aligned crops.
        speech: (s,) driving samples at 16 kHz.
        is_own: the speech is the sound of the footage.
    """

    name: str
    crops: Crops
    speech: NDArray[np.float32]
    is_own: bool

    @property
    def num_frames(self) -> int:
        """Frames that have both crops and speech."""
        return min(len(self.crops), len(self.speech) * FPS // SAMPLE_RATE, MAX_FRAMES)

    @property
    def used_crops(self) -> Crops:
        """The crops of these frames."""
        return self.crops[: self.num_frames]

    @property
    def used_speech(self) -> NDArray[np.float32]:
        """The samples of these frames."""
        return self.speech[: self.num_frames * SAMPLE_RATE // FPS]


def check_videos(run: AdaptationRun, footage: Footage) -> list[CheckVideo]:
    """Return the held-out clip with its own speech, and with foreign speech the held-out clip and others after it.

    Raises:
        InputError: a recording of foreign speech cannot be used.
    """
    held_out, resolution = footage.held_out, run.data.resolution
    crops = footage.check_frames(held_out.num_frames, resolution)
    videos = [CheckVideo("own speech, held out", crops, clip_samples(held_out), is_own=True)]
    for name in run.adaptation.check_speech:
        speech = read_speech(locate(name), MAX_SECONDS)
        crops = footage.check_frames(len(speech) * FPS // SAMPLE_RATE, resolution)
        videos.append(CheckVideo(f"foreign speech, {Path(name).stem}", crops, speech, is_own=False))
    return videos
