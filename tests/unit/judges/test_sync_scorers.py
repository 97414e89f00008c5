"""Both scorers from crops and samples to scores, with networks that compare brightness and loudness."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.errors import InputError
from latentsync.judges.stable_sync_scorer import StableSyncScorer
from latentsync.judges.sync_score import SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer
from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoderConfig, SyncNetConfig
from latentsync.models.syncnet_input import SyncNetInput
from tests.golden_values import fill_deterministic

NUM_FRAMES = 70
SAMPLES_PER_FRAME = 640


def clip(offset: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Crops whose brightness follows the loudness of the audio, `offset` frames later."""
    rng = np.random.default_rng(5)
    loudness = rng.random(NUM_FRAMES + 20)
    brightness = loudness[10 - offset : 10 - offset + NUM_FRAMES]
    crops = np.broadcast_to((40 + 170 * brightness)[:, None, None, None], (NUM_FRAMES, size, size, 3)).astype(np.uint8)
    samples = rng.standard_normal(NUM_FRAMES * SAMPLES_PER_FRAME) * 10 ** (
        2 * np.repeat(loudness[10 : 10 + NUM_FRAMES], SAMPLES_PER_FRAME) - 3
    )
    return crops, samples.astype(np.float32)


def unit(values: Tensor) -> Tensor:
    values = values - values.mean(dim=1, keepdim=True)
    return nn.functional.normalize(values, dim=1)


class BrightnessStableSyncNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shapes: set[tuple[int, ...]] = set()

    def visual_encoder(self, frames: Tensor) -> Tensor:
        self.shapes.add(tuple(frames.shape[1:]))
        return unit(frames.unflatten(1, (16, 3)).mean(dim=(2, 3, 4)))

    def audio_encoder(self, mel: Tensor) -> Tensor:
        return unit(nn.functional.interpolate(mel[:, 0, :, :51].mean(dim=1, keepdim=True), 16, mode="area")[:, 0])


class BrightnessSyncNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def embed_lips(self, frames: Tensor) -> Tensor:
        assert frames.shape[1:] == (3, 224, 224)
        return unit(frames.mean(dim=(1, 2, 3)).unfold(0, 5, 1))

    def embed_audio(self, coefficients: Tensor) -> Tensor:
        return unit(coefficients[:, 0, 0].unflatten(1, (5, 4)).mean(dim=2))


def scorers() -> list[Any]:
    stable = StableSyncScorer(cast(StableSyncNet, BrightnessStableSyncNet()), SyncNetInput(64))
    return [pytest.param(stable, id="stable"), pytest.param(SyncNetV2Scorer(cast(Any, BrightnessSyncNetV2())), id="v2")]


@pytest.mark.parametrize("scorer", scorers())
@pytest.mark.parametrize("offset", [-6, -1, 0, 2, 6])
def test_known_offsets_are_found(scorer: SyncScorer, offset: int):
    score = scorer.score(*clip(offset))
    assert score.offset == offset
    assert score.confidence > 0.3


@pytest.mark.parametrize("scorer", scorers())
def test_too_short_a_clip_is_a_clear_error(scorer: SyncScorer):
    crops, samples = clip(0)
    with pytest.raises(InputError, match="give a longer clip"):
        scorer.score(crops[:4], samples[: 4 * SAMPLES_PER_FRAME])
    with pytest.raises(InputError, match="give a longer clip"):
        scorer.score(crops, samples[:2000])


def test_stable_scorer_prepares_the_input_as_in_training():
    network = BrightnessStableSyncNet()
    StableSyncScorer(cast(StableSyncNet, network), SyncNetInput(64)).score(*clip(0, size=96))
    StableSyncScorer(cast(StableSyncNet, network), SyncNetInput(64, lower_half=False)).score(*clip(0))
    assert network.shapes == {(48, 32, 64), (48, 64, 64)}


def test_batches_do_not_change_the_similarities():
    audio = SyncEncoderConfig(1, [8, 16], [[4, 4], [4, 4]], norm_num_groups=4)
    visual = SyncEncoderConfig(48, [8, 16], [[4, 4], [4, 4]], norm_num_groups=4)
    network = StableSyncNet(SyncNetConfig(audio, visual)).eval().requires_grad_(False)
    fill_deterministic(network)
    network.audio_encoder.norm_out = nn.Sequential(network.audio_encoder.norm_out, nn.AdaptiveAvgPool2d((2, 4)))
    crops, samples = clip(0)
    first, second = (
        StableSyncScorer(network, SyncNetInput(64), batch_windows=size).similarities(crops[:30], samples)
        for size in (4, 16)
    )
    assert first.shape == (15, 15)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_audio_may_be_shorter_than_the_video():
    crops, samples = clip(0)
    scorer = StableSyncScorer(cast(StableSyncNet, BrightnessStableSyncNet()), SyncNetInput(64))
    similarities = scorer.similarities(crops, samples[: 40 * SAMPLES_PER_FRAME])
    num_columns = 40 * SAMPLES_PER_FRAME // 200 + 1
    assert len(similarities) == sum(int(80 * i / 25) + 52 <= num_columns for i in range(40))
