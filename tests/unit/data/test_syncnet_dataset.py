"""SyncNet items: a window, its audio, and a negative far enough away."""

from typing import Any

import numpy as np
import pytest
import torch

from latentsync.audio.mel import mel_window
from latentsync.data.batching import ItemKey, item_generator, item_seed
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.syncnet_dataset import SyncNetDataConfig, SyncNetDataset, WindowGroups, draw_pair
from latentsync.data.video_window import read_frames


def dataset(clip: TrainingClip, features: ClipFeatures, **settings: Any) -> SyncNetDataset:
    return SyncNetDataset([clip], features, SyncNetDataConfig(resolution=64, **settings), 3)


def window_mel(features: ClipFeatures, clip: TrainingClip, start: int, variant: int = 0) -> np.ndarray:
    return mel_window(torch.from_numpy(np.array(features.mel(clip, variant))), start)[None].numpy()


def pixels(clip: TrainingClip, start: int) -> np.ndarray:
    return read_frames(clip.path, range(start, start + 16), 64).transpose(0, 3, 1, 2) / np.float32(127.5) - 1


def test_an_item_is_lower_halves_their_audio_and_a_negative(clip: TrainingClip, features: ClipFeatures) -> None:
    for epoch in range(4):
        key = ItemKey(0, epoch)
        item = dataset(clip, features)[key]
        assert item["frames"].shape == (16, 3, 32, 64)
        np.testing.assert_allclose(item["frames"], pixels(clip, item["start"])[:, :, 32:], atol=1e-6)
        np.testing.assert_array_equal(item["mel"], window_mel(features, clip, item["start"]))
        np.testing.assert_array_equal(item["other_mel"], window_mel(features, clip, item["other_start"]))
        assert item["start"] != item["other_start"]
        assert item["mel"].shape == (1, 80, 52)
        assert (item["seed"], item["clip"]) == (item_seed(3, key), str(clip.path))


def test_cached_frames_change_nothing(clip: TrainingClip, features: ClipFeatures) -> None:
    settings = {"mirror": 0.5, "colour_jitter": 0.5}
    for lower_half in (True, False):
        for epoch in range(3):
            plain = dataset(clip, features, lower_half=lower_half, **settings)[ItemKey(0, epoch)]
            cached = dataset(clip, features, lower_half=lower_half, cache_frames=True, **settings)[ItemKey(0, epoch)]
            np.testing.assert_array_equal(plain["frames"], cached["frames"])
            assert plain["frames"].shape == (16, 3, 32 if lower_half else 64, 64)


def test_latents_are_used_in_latent_space(clip: TrainingClip, features: ClipFeatures) -> None:
    item = dataset(clip, features, latent_space=True, lower_half=False)[ItemKey(0, 0)]
    expected = features.latents(clip)[item["start"] : item["start"] + 16, 0]
    np.testing.assert_array_equal(item["frames"], expected.astype(np.float32))


def test_mirror_turns_all_frames_of_its_share_of_the_windows(clip: TrainingClip, features: ClipFeatures) -> None:
    always = dataset(clip, features, mirror=1.0, lower_half=False)[ItemKey(0, 0)]
    np.testing.assert_allclose(always["frames"], pixels(clip, always["start"])[..., ::-1], atol=1e-6)
    half = dataset(clip, features, mirror=0.5, lower_half=False, cache_frames=True)
    turned = []
    for epoch in range(30):
        item = half[ItemKey(0, epoch)]
        frames = features.frames(clip, False)[item["start"] : item["start"] + 16]
        turned.append(np.abs(item["frames"] - frames.transpose(0, 3, 1, 2) / 127.5 + 1).max() > 1e-3)
    assert 5 < sum(turned) < 25


def test_one_colour_change_is_for_all_frames_of_a_window(clip: TrainingClip, features: ClipFeatures) -> None:
    item = dataset(clip, features, colour_jitter=1.0, lower_half=False)[ItemKey(0, 0)]
    plain = pixels(clip, item["start"])
    assert item["frames"].dtype == np.float32
    assert -1 <= item["frames"].min() < item["frames"].max() <= 1
    assert np.abs(item["frames"] - plain).mean() > 0.02
    white = item["frames"].transpose(0, 2, 3, 1)[(plain > 0.99).all(axis=1)]
    assert len(white) > 16
    assert np.ptp(white, axis=0).max() < 0.02


def test_mel_variants_are_all_used_and_shared_by_both_windows(clip: TrainingClip, features: ClipFeatures) -> None:
    data = dataset(clip, features, mel_variants=3)
    used = set()
    for epoch in range(20):
        item = data[ItemKey(0, epoch)]
        variant = [v for v in range(3) if (item["mel"] == window_mel(features, clip, item["start"], v)).all()]
        assert len(variant) == 1
        np.testing.assert_array_equal(item["other_mel"], window_mel(features, clip, item["other_start"], variant[0]))
        used |= set(variant)
    assert used == {0, 1, 2}


@pytest.mark.parametrize("offset", [-5, 0, 4])
@pytest.mark.parametrize("nearest", [1, 3, 10])
def test_pairs_over_many_keys(offset: int, nearest: int) -> None:
    config = SyncNetDataConfig(min_offset_frames=nearest, audio_offset_frames=offset)
    for num_frames in (config.min_frames, config.min_frames + 7, 60):
        drawn = [draw_pair(item_generator(0, ItemKey(i, 1)), num_frames, config) for i in range(600)]
        starts, others = (np.array(values) for values in zip(*drawn, strict=True))
        assert np.abs(starts - others).min() == nearest
        low, high = max(0, -offset), num_frames - 16 - max(0, offset)
        for values in (starts, others):
            assert (values.min(), values.max()) == (low, high)
            assert (values + offset).min() >= 0
            assert (values + offset).max() + 16 <= num_frames
        assert set(starts.tolist()) == set(range(low, high + 1))


def test_negatives_are_uniform_over_what_is_allowed() -> None:
    config = SyncNetDataConfig(min_offset_frames=3)
    drawn = [draw_pair(item_generator(1, ItemKey(i, 0)), 30, config) for i in range(8000)]
    others = np.array([other for start, other in drawn if start == 7])
    assert set(others.tolist()) == {*range(5), *range(10, 15)}
    counts = np.bincount(others)[[*range(5), *range(10, 15)]]
    assert counts.max() < 1.6 * counts.mean()
    assert counts.min() > 0.5 * counts.mean()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_near_share_is_drawn_from_within_15_frames(share: float) -> None:
    config = SyncNetDataConfig(min_offset_frames=3, near_share=share)
    drawn = np.array([draw_pair(item_generator(2, ItemKey(i, 0)), 1016, config) for i in range(2000)])
    distance = np.abs(drawn[:, 0] - drawn[:, 1])
    assert distance.min() >= 3
    assert (distance <= 15).mean() == pytest.approx(share + (1 - share) * 0.026, abs=0.03)


def test_far_negatives_are_taken_where_nothing_near_is_allowed() -> None:
    config = SyncNetDataConfig(min_offset_frames=20, near_share=1.0)
    start, other = draw_pair(np.random.default_rng(0), 100, config)
    assert abs(start - other) >= 20


def test_the_audio_is_shifted_by_the_offset(clip: TrainingClip, features: ClipFeatures) -> None:
    for offset in (-3, 6):
        item = dataset(clip, features, audio_offset_frames=offset)[ItemKey(0, 2)]
        np.testing.assert_array_equal(item["mel"], window_mel(features, clip, item["start"] + offset))
        np.testing.assert_array_equal(item["other_mel"], window_mel(features, clip, item["other_start"] + offset))
        np.testing.assert_allclose(item["frames"], pixels(clip, item["start"])[:, :, 32:], atol=1e-6)


def test_short_clips_are_refused(clip: TrainingClip, features: ClipFeatures) -> None:
    assert SyncNetDataConfig().min_frames == 17
    assert SyncNetDataConfig(min_offset_frames=3, audio_offset_frames=-4).min_frames == 25
    with pytest.raises(ValueError, match="fewer than"):
        dataset(TrainingClip(clip.path, 16, clip.content_key), features)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_offset_frames": 0},
        {"near_share": 1.5},
        {"mel_variants": 0},
        {"audio_sample_rate": 8000},
        {"latent_space": True},
        {"colour_jitter": 0.5, "latent_space": True, "lower_half": False},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"data\.{next(iter(wrong))}"):
        SyncNetDataConfig(**wrong)


class Windows:
    """Data set whose items contain the numbers of their key."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: ItemKey) -> dict:
        return {
            "frames": np.full((2, 3, 4, 4), key.epoch, dtype=np.float32),
            "start": 10 * key.epoch,
            "clip": f"clip {key.index}",
            "seed": 2**62 + key.epoch,
        }


def test_a_group_is_the_next_windows_of_one_clip() -> None:
    groups = WindowGroups(Windows(), 3)
    assert len(groups) == 7
    item = groups[ItemKey(5, 2)]
    assert item["frames"].shape == (3, 2, 3, 4, 4)
    assert item["frames"][:, 0, 0, 0, 0].tolist() == [6.0, 7.0, 8.0]
    assert torch.equal(item["start"], torch.tensor([60, 70, 80]))
    assert item["clip"] == "clip 5"
    assert item["seed"] == 2**62 + 6


def test_no_window_is_drawn_twice() -> None:
    groups = WindowGroups(Windows(), 4)
    starts = [start for epoch in range(5) for start in groups[ItemKey(0, epoch)]["start"].tolist()]
    assert len(set(starts)) == 20


def test_no_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WindowGroups(Windows(), 0)
