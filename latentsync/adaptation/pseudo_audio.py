"""Audio for footage from a bank of speech: other voices say what moves a mouth like the footage's."""

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
        own: source of the clips' own tokens.
        own_share: share of the windows with known mouths that have their own audio all the same.
    """

    bank: SpeechBank
    mouths: Mapping[str, Mouths]
    own: OwnAudio
    own_share: float = 0.0

    def __call__(self, clip: TrainingClip, start: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the tokens of a window, see `latentsync.data.unet_dataset.AudioTokens`."""
        mouths = self.mouths.get(clip.content_key)
        if mouths is None or (self.own_share and rng.random() < self.own_share):
            return self.own(clip, start, num_frames, rng)
        return self.bank.tokens(self.bank.draw(mouths[start : start + num_frames], rng))
