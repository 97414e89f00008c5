"""Audio for footage whose own sound is missing or does not fit: speech of a bank with the mouths of the footage."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latentsync.adaptation.mouth_matching import Mouths
from latentsync.adaptation.speech_bank import SpeechBank
from latentsync.data.clip_check import TrainingClip
from latentsync.data.unet_dataset import OwnAudio


@dataclass(frozen=True)
class PseudoAudio:
    """Audio tokens of bank speech for clips with known mouths, and their own audio for all other clips.

    Attributes:
        bank: the speech.
        mouths: (f, 2) mouth of every frame, by the clip's content key, in the range of the bank's mouths.
        own: source of the other clips' tokens.
    """

    bank: SpeechBank
    mouths: Mapping[str, Mouths]
    own: OwnAudio

    def __call__(self, clip: TrainingClip, start: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the tokens of a window, see `latentsync.data.unet_dataset.AudioTokens`."""
        mouths = self.mouths.get(clip.content_key)
        if mouths is None:
            return self.own(clip, start, num_frames, rng)
        return self.bank.tokens(self.bank.draw(mouths[start : start + num_frames], rng))
