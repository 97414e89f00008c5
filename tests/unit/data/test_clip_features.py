"""Cached features equal what their packages compute from the clip's file."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data import prepare_features as module
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, clip_samples, codec_fingerprint, encoder_fingerprint
from latentsync.data.prepare_features import prepare_features
from latentsync.data.video_window import read_frames
from latentsync.errors import InputError
from latentsync.face.mask import keep_mask
from latentsync.models.vae import LatentCodec
from latentsync.storage.content_cache import ArrayCache
from tests.unit.data.clips import speech


def test_a_clips_samples_are_its_sound(clip: TrainingClip) -> None:
    expected = (speech(60 / 25) * 32767).astype("<i2") / 32768
    np.testing.assert_array_equal(clip_samples(clip), expected.astype(np.float32))


def test_rows_are_the_whole_files_whisper_features(
    clip: TrainingClip, features: ClipFeatures, encoder: WhisperEncoder
) -> None:
    expected = WhisperFeatures(encoder, ArraySamples(clip_samples(clip)))
    rows = features.whisper_rows(clip)
    assert rows.shape == (120, 2, 16)
    assert rows.dtype == np.float16
    assert isinstance(rows, np.memmap)
    np.testing.assert_array_equal(rows, expected.rows(0, 120).half().numpy())


def test_latents_are_of_the_crop_and_the_masked_crop(
    clip: TrainingClip, features: ClipFeatures, codec: LatentCodec
) -> None:
    latents = features.latents(clip)
    assert latents.shape == (60, 2, 2, 16, 16)
    assert latents.dtype == np.float16
    frame = torch.from_numpy(read_frames(clip.path, [37], 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    for index, image in enumerate((frame, frame * keep_mask(64))):
        expected = codec.encode(image)[0]
        assert torch.allclose(torch.from_numpy(np.array(latents[37, index])).float(), expected, rtol=2e-3, atol=2e-3)
    assert np.abs(latents[37, 0] - latents[37, 1]).max() > 0.01


def test_mels_are_those_of_the_sound_and_variants_are_others(clip: TrainingClip, features: ClipFeatures) -> None:
    plain = features.mel(clip)
    np.testing.assert_array_equal(plain, syncnet_mel(clip_samples(clip)).numpy())
    variants = [np.array(features.mel(clip, variant)) for variant in (0, 1, 2)]
    assert all(variant.shape == plain.shape for variant in variants)
    assert (variants[0] == plain).all()
    assert min(np.abs(a - b).mean() for a, b in zip(variants, [*variants[1:], variants[0]], strict=True)) > 0.05


def test_a_variant_is_the_same_in_another_cache(clip: TrainingClip, features: ClipFeatures, tmp_path: Path) -> None:
    other = replace(features, cache=ArrayCache(tmp_path))
    np.testing.assert_array_equal(other.mel(clip, 1), features.mel(clip, 1))


@pytest.mark.parametrize("half", [True, False])
def test_frames_are_all_frames_or_their_lower_halves(
    other_clip: TrainingClip, features: ClipFeatures, half: bool
) -> None:
    expected = read_frames(other_clip.path, range(40), 64)
    frames = features.frames(other_clip, half)
    assert isinstance(frames, np.memmap)
    np.testing.assert_array_equal(frames, expected[:, 32:] if half else expected)


def test_other_weights_sizes_and_contents_have_other_keys(
    clip: TrainingClip, other_clip: TrainingClip, features: ClipFeatures
) -> None:
    variations = [features, replace(features, encoder_key="e", codec_key="c"), replace(features, resolution=128)]
    latents = {one.latents_key(each) for one in variations for each in (clip, other_clip)}
    rows = {one.rows_key(each) for one in variations for each in (clip, other_clip)}
    assert (len(latents), len(rows)) == (6, 4)


def test_fingerprints_follow_the_weights(encoder: WhisperEncoder, codec: LatentCodec) -> None:
    for network, fingerprint, wrapped in (
        (encoder, encoder_fingerprint, encoder),
        (codec.vae.encoder, codec_fingerprint, codec),
    ):
        before = fingerprint(wrapped)
        weight = next(iter(network.parameters()))
        kept = weight.detach().clone()
        weight.data.flatten()[0] += 1
        assert fingerprint(wrapped) != before
        weight.data.copy_(kept)
        assert fingerprint(wrapped) == before
    before = codec_fingerprint(codec)
    decoder = next(iter(codec.vae.decoder.parameters()))
    decoder.data += 1
    assert codec_fingerprint(codec) == before
    decoder.data -= 1


def test_each_content_is_computed_once_over_the_ranks_and_not_again(
    clip: TrainingClip,
    other_clip: TrainingClip,
    encoder: WhisperEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = ClipFeatures(ArrayCache(tmp_path), 64, encoder_fingerprint(encoder))
    computed, compute = [], module.compute_whisper_rows
    monkeypatch.setattr(
        module, "compute_whisper_rows", lambda clip, encoder: computed.append(clip) or compute(clip, encoder)
    )
    clips = [clip, clip, other_clip, clip]
    with pytest.raises(InputError, match=r"clip\.mp4 are not in"):
        features.whisper_rows(clip)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(prepare_features, clips, features, encoder, rank=0, world_size=2)
        while not features.cache.holds(features.rows_key(clip)):
            assert not first.done(), "a rank returns when the other's share is in the cache"
        second = prepare_features(clips, features, encoder, rank=1, world_size=2)
        assert (first.result(), second) == (1, 1)
    assert computed == [clip, other_clip]
    calls: list[tuple[int, int]] = []
    assert prepare_features(clips, features, encoder, progress=lambda *pair: calls.append(pair)) == 0
    assert calls == [(1, 2), (2, 2)]
    assert features.whisper_rows(other_clip).shape == (80, 2, 16)


def test_a_rank_without_news_of_the_others_computes_all(
    clip: TrainingClip, other_clip: TrainingClip, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    features = ClipFeatures(ArrayCache(tmp_path), 64, encoder_fingerprint(encoder))
    assert prepare_features([clip, other_clip], features, encoder, rank=1, world_size=2, timeout_s=0.01) == 2
    assert features.whisper_rows(clip).shape == (120, 2, 16)


def test_a_resolution_the_vae_cannot_take_is_one_line(clip: TrainingClip, codec: LatentCodec, tmp_path: Path) -> None:
    features = ClipFeatures(ArrayCache(tmp_path), 66, None, codec_fingerprint(codec))
    with pytest.raises(InputError, match="resolution 66 is not a multiple of the VAE's 4"):
        prepare_features([clip], features, codec=codec)
