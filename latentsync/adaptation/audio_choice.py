"""Choose the audio of footage: its own sound where the lips follow it, and speech of a bank."""

from dataclasses import dataclass

from latentsync.adaptation.mouth_matching import Mouths
from latentsync.errors import ConfigError
from latentsync.judges.crop_measures import correlation

MAX_OFFSET = 5
"""Largest offset in frames between lips and sound that is searched."""

_IN_SYNC_OFFSET = 1
_IN_SYNC_CORRELATION = 0.5


@dataclass(frozen=True)
class LipAgreement:
    """How the opening of the lips agrees with the sound of the same footage.

    Attributes:
        correlation: the largest over the offsets.
        offset: frames by which the sound is late.
    """

    correlation: float
    offset: int

    @property
    def is_in_sync(self) -> bool:
        """True if the lips follow the sound."""
        return self.correlation >= _IN_SYNC_CORRELATION and abs(self.offset) <= _IN_SYNC_OFFSET

    def __str__(self) -> str:
        frames = "frame" if abs(self.offset) == 1 else "frames"
        return f"correlation {self.correlation:.2f} at an offset of {self.offset} {frames}"


def lip_agreement(footage: Mouths, speech: Mouths) -> LipAgreement:
    """Return the agreement of mouths (f, 2) in footage with those predicted from its sound (f, 2)."""
    found = []
    for offset in range(-MAX_OFFSET, MAX_OFFSET + 1):
        early, late = (footage, speech) if offset >= 0 else (speech, footage)
        length = len(footage) - abs(offset)
        value = correlation(early[:length, 0], late[abs(offset) :, 0])
        found.append(LipAgreement(value, offset))
    return max(found, key=lambda one: (one.correlation, -abs(one.offset)))


def choose_mode(mode: str, agreement: LipAgreement, needs_own: bool) -> str:
    """Return the audio to train with: "both", "own" or "pseudo".

    Args:
        mode: one of `audio_modes.AUDIO_MODES`.
        agreement: of lips and sound in the footage.
        needs_own: a loss compares the mouth with the footage's own sound.

    Raises:
        ConfigError: such a loss and audio of a bank.
    """
    if mode == "auto":
        trusted = "own" if needs_own else "both"
        mode = trusted if agreement.is_in_sync else "pseudo"
    if needs_own and mode != "own":
        raise ConfigError(
            f"losses.sync compares the mouth with the footage's own sound, which {mode} audio replaces: set "
            "losses.sync.weight=0, or use --audio own"
        )
    return mode
