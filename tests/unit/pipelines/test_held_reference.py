"""Reference images in silence: one is held, so that the source's mouth does not move the generated one."""

import numpy as np
import pytest
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.held_reference import HeldReference
from latentsync.pipelines.options import LipsyncOptions
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline


def numbered(start: int, stop: int) -> torch.Tensor:
    return torch.arange(start, stop).float()[:, None, None, None].expand(-1, 3, 2, 2).clone()


def test_the_first_silent_frame_is_held_until_speech() -> None:
    held = HeldReference(lambda frame: 3 <= frame < 7 or frame == 9)
    first, second = held(0, numbered(0, 5)), held(5, numbered(5, 11))
    assert first is not None
    assert second is not None
    assert first[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 3]
    assert second[:, 0, 0, 0].tolist() == [3, 3, 7, 8, 9, 10]


def test_frames_with_speech_are_their_own_reference() -> None:
    assert HeldReference(lambda frame: False)(0, numbered(0, 5)) is None


def test_a_held_image_is_replaced_after_a_while() -> None:
    references = HeldReference(lambda frame: True, max_frames=3)(0, numbered(0, 8))
    assert references is not None
    assert references[:, 0, 0, 0].tolist() == [0, 0, 0, 3, 3, 3, 6, 6]


def test_the_held_image_is_a_copy() -> None:
    """The memory of crops may be used again."""
    held, crops = HeldReference(lambda frame: True), numbered(0, 1)
    held(0, crops)
    crops.fill_(9)
    references = held(1, numbered(1, 2))
    assert references is not None
    assert references.max() == 0


@pytest.mark.parametrize("overlap", [0, 4])
def test_a_changed_mouth_in_the_source_changes_no_silent_frame(overlap: int) -> None:
    """Only the generated region of later frames differs, which the masked image does not contain."""
    pipeline = tiny_pipeline()
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (12, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    other = crops.copy()
    other[6:, 40:50, 25:40] = 255 - other[6:, 40:50, 25:40]
    features = WhisperFeatures(pipeline.audio_encoder, ArraySamples(np.zeros(16000, np.float32)))
    dubber = CropDubber(pipeline.synthesizer, 8, 25, LipsyncOptions(2, 1.0, overlap_frames=overlap, seed=1))
    plain, held = (
        [dubber(images, features, is_silent=is_silent) for images in (crops, other)]
        for is_silent in (None, lambda frame: frame >= 5)
    )
    assert (plain[0] != plain[1]).any()
    mouth = np.s_[:, 40:50, 25:40]
    assert np.abs(plain[0][mouth].astype(int) - plain[1][mouth]).mean() > 0.1
    np.testing.assert_array_equal(held[0][mouth], held[1][mouth])
