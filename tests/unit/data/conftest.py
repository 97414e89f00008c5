"""Clips, networks and cached features that the tests of this package share."""

from pathlib import Path

import pytest

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint, encoder_fingerprint
from latentsync.data.prepare_features import prepare_features
from latentsync.models.vae import LatentCodec
from latentsync.storage.content_cache import ArrayCache, content_key
from tests.golden_values import fill_deterministic
from tests.tiny_networks import tiny_vae
from tests.unit.data.clips import NUM_FRAMES, make_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> TrainingClip:
    """60 numbered frames of 64 px with sound."""
    path = make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")
    return TrainingClip(path, NUM_FRAMES, content_key(path))


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> TrainingClip:
    """40 numbered frames of 96 px with other sound."""
    path: Path = make_clip(tmp_path_factory.mktemp("clip") / "other.mp4", 40, side=96, seed=1)
    return TrainingClip(path, 40, content_key(path))


@pytest.fixture(scope="session")
def encoder() -> WhisperEncoder:
    """A tiny audio encoder: rows of (2, 16)."""
    encoder = fill_deterministic(WhisperEncoder(encoder_dimensions(16, 1, 2)))
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def codec() -> LatentCodec:
    """A tiny VAE: 2 latent channels at a quarter of the size."""
    return LatentCodec(tiny_vae(latent_channels=2))


@pytest.fixture(scope="session")
def features(
    tmp_path_factory: pytest.TempPathFactory,
    clip: TrainingClip,
    other_clip: TrainingClip,
    encoder: WhisperEncoder,
    codec: LatentCodec,
) -> ClipFeatures:
    """A cache with rows and latents of both clips at 64 px."""
    cache = ArrayCache(tmp_path_factory.mktemp("cache"))
    features = ClipFeatures(cache, 64, encoder_fingerprint(encoder), codec_fingerprint(codec))
    prepare_features([clip, other_clip], features, encoder, codec)
    return features
