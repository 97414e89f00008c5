"""Whether the sound of footage fits its lips."""

import numpy as np
import pytest

from latentsync.adaptation.audio_choice import LipAgreement, choose_mode, lip_agreement
from latentsync.errors import ConfigError

IN_SYNC, DUBBED = LipAgreement(0.9, 0), LipAgreement(0.2, 0)


def smooth_mouths(seed: int, num_frames: int = 200) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((num_frames + 4, 2))
    return np.mean([noise[k : k + num_frames] for k in range(5)], axis=0).astype(np.float32)


@pytest.mark.parametrize(("offset", "in_sync"), [(0, True), (1, True), (-1, True), (3, False), (-4, False)])
def test_the_offset_is_found(offset: int, in_sync: bool):
    seen = smooth_mouths(0)
    agreement = lip_agreement(seen, np.roll(seen, offset, axis=0))
    assert agreement.offset == offset
    assert agreement.correlation > 0.9
    assert agreement.is_in_sync == in_sync


def test_foreign_sound_and_silence_do_not_fit():
    assert not lip_agreement(smooth_mouths(0), smooth_mouths(1)).is_in_sync
    silent = lip_agreement(smooth_mouths(0), np.zeros((200, 2), np.float32))
    assert (silent.correlation, silent.offset, silent.is_in_sync) == (0.0, 0, False)
    assert str(silent) == "correlation 0.00 at an offset of 0 frames"


@pytest.mark.parametrize(
    ("mode", "agreement", "needs_own", "chosen"),
    [
        ("auto", IN_SYNC, False, "both"),
        ("auto", IN_SYNC, True, "own"),
        ("auto", DUBBED, False, "pseudo"),
        ("own", DUBBED, True, "own"),
        ("both", DUBBED, False, "both"),
        ("pseudo", IN_SYNC, False, "pseudo"),
    ],
)
def test_the_sound_is_used_where_the_lips_follow_it(mode: str, agreement: LipAgreement, needs_own: bool, chosen: str):
    assert choose_mode(mode, agreement, needs_own) == chosen


@pytest.mark.parametrize(("mode", "agreement"), [("auto", DUBBED), ("both", IN_SYNC), ("pseudo", IN_SYNC)])
def test_a_loss_that_needs_the_own_sound_gets_no_other(mode: str, agreement: LipAgreement):
    with pytest.raises(ConfigError, match="or use --audio own"):
        choose_mode(mode, agreement, needs_own=True)
