from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.errors import ConfigError
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import Cancelled, Window, WindowSynthesizer
from tests.golden_values import det
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline

QUICK = LipsyncOptions(num_inference_steps=2)


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def features(pipeline) -> WhisperFeatures:
    return WhisperFeatures(pipeline.networks.audio_encoder, ArraySamples(det("speech", (32000,), 0.1).numpy()))


def windows() -> list[Window]:
    return [Window(start, torch.tanh(det(f"crop{start}", (16, 3, RESOLUTION, RESOLUTION)))) for start in (0, 12, 24)]


def paint(pipeline, features, chosen: list[Window], options: LipsyncOptions = QUICK) -> list[torch.Tensor]:
    return pipeline.networks.synthesizer(chosen, features, Fraction(25), options, lambda share: None)


def test_a_window_does_not_depend_on_its_company(pipeline, features):
    together = paint(pipeline, features, windows())
    for window, batched in zip(windows(), together, strict=True):
        (alone,) = paint(pipeline, features, [window])
        torch.testing.assert_close(batched, alone, rtol=0, atol=1e-4)


def test_the_picture_depends_on_the_audio_at_its_own_time_and_on_the_seed(pipeline, features):
    first = windows()[0]
    (here,) = paint(pipeline, features, [first])
    (later,) = paint(pipeline, features, [Window(20, first.crops)])
    (other,) = paint(pipeline, features, [first], replace(QUICK, seed=5))
    assert (here - later).abs().max() > 1e-3
    assert (here - other).abs().max() > 1e-2


def test_progress_ends_at_one_and_may_stop_the_work(pipeline, features):
    shares: list[float] = []
    pipeline.networks.synthesizer(windows()[:1], features, Fraction(25), QUICK, shares.append)
    assert shares == [0.5, 1.0]

    def stop(share: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.networks.synthesizer(windows()[:1], features, Fraction(25), QUICK, stop)


def test_a_vae_of_other_latents_is_refused(pipeline):
    class EightChannels:
        latent_channels = 8
        factor = 8

    with pytest.raises(ConfigError, match="25 input"):
        WindowSynthesizer(pipeline.networks.synthesizer.unet, EightChannels(), RESOLUTION)  # type: ignore[arg-type]
