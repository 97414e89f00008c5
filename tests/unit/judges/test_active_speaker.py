"""Who speaks: confidences of faces while a video is read, and the path through them."""

from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch

from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.audio.sample_source import ArraySamples
from latentsync.judges.active_speaker import (
    MIN_CONFIDENCE,
    NOBODY,
    STRIDE,
    ActiveSpeakerScorer,
    confident_level,
    who_speaks,
)
from latentsync.judges.stable_sync_scorer import StableSyncScorer
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput
from tests.unit.judges.test_sync_scorers import BrightnessStableSyncNet, clip

RATE = 25 / STRIDE


def brightness_scorer() -> StableSyncScorer:
    return StableSyncScorer(cast(StableSyncNet, BrightnessStableSyncNet()), SyncNetInput(64))


def tensors(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_face_that_follows_the_sound_is_confident_and_others_are_not():
    crops, samples = clip(0)
    late, _ = clip(6)
    still = np.full_like(crops, 90)
    scorer = ActiveSpeakerScorer(brightness_scorer(), ArraySamples(samples), batch_windows=5)
    for i in range(len(crops)):
        faces = {0: tensors(still)[i], 1: tensors(crops)[i], 2: tensors(late)[i]}
        scorer.add(i, faces if i != 30 else {k: faces[k] for k in (0, 1)})
    scorer.flush()
    means = {number: np.mean(scores.confidences) for number, scores in scorer.scores.items()}
    assert means[1] > 0.5 > 0.2 > max(means[0], means[2])
    assert scorer.scores[1].starts == [start for start in range(0, 55, STRIDE) if start <= 70 - 16]
    # a face that disappears for a frame has no window across the gap
    assert not any(15 <= start <= 30 for start in scorer.scores[2].starts)


def test_streamed_embeddings_are_those_of_the_whole_clip():
    crops, samples = clip(2)
    scorer = brightness_scorer()
    whole = scorer.similarities(crops, samples)
    frames = tensors(crops)
    video = scorer.embed_video([frames[i : i + 16] for i in (0, 7, 30)])
    audio = scorer.embed_audio(ArraySamples(samples), [-3, 7, 30, 33, 200])
    assert np.isnan(audio[[0, 4]]).all()
    assert video @ audio[1:4].T == pytest.approx(whole[np.ix_([0, 7, 30], [7, 30, 33])], abs=1e-3)
    with torch.inference_mode():
        window = mel_window(syncnet_mel(samples), 30)
        expected = BrightnessStableSyncNet().audio_encoder(window[None, None])
    assert audio[2] == pytest.approx(expected[0].numpy(), abs=1e-3)


def speech(*parts: tuple[float, float, float]) -> np.ndarray:
    """Return the confidences (2, n) of parts of (seconds, of the first person, of the second person)."""
    columns = [np.tile([[first], [second]], round(seconds * RATE)) for seconds, first, second in parts]
    return np.concatenate(columns, axis=1).astype(np.float32)


def path_of(confidences: np.ndarray, visible: np.ndarray | None = None) -> list[tuple[int, float]]:
    """Return (person, seconds) of every part of the path."""
    visible = np.ones(confidences.shape, dtype=bool) if visible is None else visible
    path = who_speaks(confidences, visible, RATE)
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1), len(path)]
    return [(int(path[a]), (b - a) / RATE) for a, b in pairwise(edges)]


@pytest.mark.parametrize("level", [0.9, 0.15])
def test_turns_are_followed_whatever_the_level_of_the_network(level):
    found = path_of(speech((3, level, 0.0), (1.6, 0.0, level), (3, level, 0.0)))
    assert [person for person, _ in found] == [0, 1, 0]
    assert [seconds for _, seconds in found] == pytest.approx([3, 1.6, 3], abs=0.25)


def test_the_speaker_keeps_the_floor_in_a_pause_and_during_a_short_remark():
    assert [person for person, _ in path_of(speech((3, 0.9, 0), (1.5, 0, 0), (3, 0.9, 0)))] == [0]
    assert [person for person, _ in path_of(speech((3, 0.9, 0), (0.25, 0.1, 0.9), (3, 0.9, 0)))] == [0]


def test_nobody_is_followed_while_no_lips_move_for_long():
    found = path_of(speech((3, 0.9, 0), (8, 0.02, 0.0), (3, 0, 0.9)))
    assert [person for person, _ in found] == [0, NOBODY, 1]


def test_who_is_not_visible_is_not_followed_for_long_and_is_again_afterwards():
    confidences = speech((3, 0.9, 0), (3, np.nan, 0.9), (2, 0.9, 0))
    visible = ~np.isnan(confidences)
    assert [person for person, _ in path_of(confidences, visible)] == [0, 1, 0]
    hidden = speech((3, 0.9, 0), (0.5, np.nan, 0.0), (2, 0.9, 0))
    assert [person for person, _ in path_of(hidden, ~np.isnan(hidden))] == [0]


def test_the_level_of_noise_is_below_the_limit_and_that_of_speech_above():
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 200))
    assert confident_level(noise, RATE) < MIN_CONFIDENCE < confident_level(speech((2, 0.2, 0), (3, 0, 0)), RATE)
    assert confident_level(np.empty((0, 0)), RATE) == 0
    assert confident_level(np.full((1, 10), np.nan), RATE) == 0
