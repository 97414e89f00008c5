"""U-Net items: frames, audio and reference are those of the key."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from latentsync.audio.mel import mel_window
from latentsync.audio.whisper_features import frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.augmentation import vary_frames
from latentsync.data.batching import ItemKey, StepSampler, collate, item_seed
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.prepare_features import prepare_features
from latentsync.data.unet_dataset import UNetDataConfig, UNetDataset, draw_windows
from latentsync.data.video_window import model_pixels, read_frames
from latentsync.errors import InputError
from latentsync.models.vae import LatentCodec
from tests.unit.data.clips import frame_number, make_clip

LENGTH = 16


class Rows:
    """Adapter from cached rows to the interface of `frame_tokens`."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.num_rows = torch.from_numpy(np.array(rows)).float(), len(rows)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self._rows[start:stop]


def dataset(clips: list[TrainingClip], features: ClipFeatures, **settings: Any) -> UNetDataset:
    wants = {name: settings.pop(name) for name in ("load_pixels", "load_mel") if name in settings}
    return UNetDataset(clips, features, UNetDataConfig(resolution=64, num_frames=LENGTH, **settings), 7, **wants)


def numbers(pixels: np.ndarray) -> list[int]:
    return [frame_number((frame.transpose(1, 2, 0) + 1) * 127.5) for frame in pixels]


def test_pixels_reference_tokens_and_mel_belong_to_their_frames(clip: TrainingClip, features: ClipFeatures) -> None:
    data = dataset([clip], features, load_mel=True)
    for epoch in range(4):
        item = data[ItemKey(0, epoch)]
        start, reference_start = item["start"], item["reference_start"]
        assert numbers(item["pixels"]) == list(range(start, start + LENGTH))
        assert numbers(item["reference"]) == list(range(reference_start, reference_start + LENGTH))
        assert item["pixels"].dtype == np.float32
        assert -1 <= item["pixels"].min() < -0.9 < 0.9 < item["pixels"].max() <= 1
        tokens = frame_tokens(Rows(features.whisper_rows(clip)), range(start, start + LENGTH), 25)
        np.testing.assert_array_equal(item["audio"], tokens.numpy())
        assert item["audio"].shape == (LENGTH, 20, 16)
        np.testing.assert_array_equal(
            item["mel"][0], mel_window(torch.from_numpy(np.array(features.mel(clip))), start).numpy()
        )
        assert item["seed"] == item_seed(7, ItemKey(0, epoch))
        assert item["clip"] == str(clip.path)
        assert "latents" not in item


def test_cached_latents_are_those_of_the_windows(clip: TrainingClip, features: ClipFeatures) -> None:
    item = dataset([clip], features, cache_latents=True)[ItemKey(0, 3)]
    pixels = dataset([clip], features)[ItemKey(0, 3)]
    latents = np.array(features.latents(clip), dtype=np.float32)
    start, reference_start = item["start"], item["reference_start"]
    assert (start, reference_start) == (pixels["start"], pixels["reference_start"])
    np.testing.assert_array_equal(item["latents"], latents[start : start + LENGTH, 0])
    np.testing.assert_array_equal(item["masked_latents"], latents[start : start + LENGTH, 1])
    np.testing.assert_array_equal(item["reference_latents"], latents[reference_start : reference_start + LENGTH, 0])
    assert item["latents"].dtype == np.float32
    assert not {"pixels", "reference", "mel"} & item.keys()
    both = dataset([clip], features, cache_latents=True, load_pixels=True)[ItemKey(0, 3)]
    np.testing.assert_array_equal(both["pixels"], pixels["pixels"])
    assert "reference" not in both


@pytest.mark.parametrize("num_frames", [32, 33, 40, 47, 48, 150])
def test_windows_lie_in_the_clip_and_never_overlap(num_frames: int) -> None:
    rng = np.random.default_rng(num_frames)
    drawn = [draw_windows(rng, num_frames, LENGTH) for _ in range(3000)]
    starts, references = (np.array(values) for values in zip(*drawn, strict=True))
    assert min(starts.min(), references.min()) == 0
    assert max(starts.max(), references.max()) == num_frames - LENGTH
    assert np.abs(starts - references).min() == LENGTH
    allowed = {start for start in range(num_frames - LENGTH + 1) if start >= LENGTH or start + 2 * LENGTH <= num_frames}
    assert set(starts.tolist()) == allowed
    counts = np.bincount(starts)[sorted(allowed)]
    assert counts.max() < 3 * counts.mean()


def test_clips_too_short_for_two_windows_are_refused(clip: TrainingClip, features: ClipFeatures) -> None:
    with pytest.raises(ValueError, match="no room"):
        draw_windows(np.random.default_rng(0), 31, LENGTH)
    short = TrainingClip(clip.path, 31, clip.content_key)
    with pytest.raises(ValueError, match="fewer than 32"):
        dataset([short], features)


def test_workers_read_the_same_items_as_one_process(
    clip: TrainingClip, other_clip: TrainingClip, features: ClipFeatures
) -> None:
    data = pickle.loads(pickle.dumps(dataset([clip, other_clip], features, load_mel=True)))  # as spawned workers get it
    sampler = StepSampler(2, 3, seed=0, num_batches=4)
    plain = list(DataLoader(data, batch_sampler=sampler, collate_fn=collate))
    workers = list(DataLoader(data, batch_sampler=sampler, collate_fn=collate, num_workers=2))
    assert len(plain) == len(workers) == 4
    for one, other in zip(plain, workers, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
    assert len({batch["seed"].tolist()[0] for batch in plain}) == 4


def test_a_clip_lost_later_is_named_by_the_worker(
    clip: TrainingClip, other_clip: TrainingClip, features: ClipFeatures, tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "lost.mp4")
    lost = TrainingClip(path, clip.num_frames, clip.content_key)
    path.unlink()
    loader = DataLoader(
        dataset([lost], features), batch_sampler=StepSampler(1, 1, num_batches=2), num_workers=1, collate_fn=collate
    )
    with pytest.raises(InputError, match=r"lost\.mp4 is missing"):
        list(loader)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 0},
        {"num_frames": 0},
        {"audio_sample_rate": 44100},
        {"sample_latents": True, "cache_latents": True},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UNetDataConfig(**wrong)


@pytest.mark.parametrize("is_cached", [True, False])
def test_variants_of_the_frames(
    clip: TrainingClip, features: ClipFeatures, encoder: WhisperEncoder, codec: LatentCodec, is_cached: bool
) -> None:
    prepare_features([clip], features, encoder, codec, num_variants=3)
    data = dataset([clip], features, frame_variants=3, cache_latents=is_cached, load_pixels=True)
    items = [data[ItemKey(0, epoch)] for epoch in range(24)]
    keys = ("latents", "masked_latents", "reference_latents") if is_cached else ("pixels", "reference")
    found = set()
    for item in items:
        start, reference_start = item["start"], item["reference_start"]
        frames = read_frames(clip.path, range(clip.num_frames), 64)
        for variant in range(4):
            varied = vary_frames(frames, variant, clip.content_key)
            expected = {"pixels": model_pixels(varied[start : start + LENGTH])}
            if is_cached:
                images = torch.from_numpy(model_pixels(varied))
                expected["latents"] = codec.encode(images[start : start + LENGTH], 16).half().float().numpy()
                reference = images[reference_start : reference_start + LENGTH]
                expected["reference_latents"] = codec.encode(reference, 16).half().float().numpy()
            else:
                expected["reference"] = model_pixels(varied[reference_start : reference_start + LENGTH])
            if all(np.allclose(item[name], values, atol=5e-3) for name, values in expected.items()):
                found.add(variant)
                break
        else:
            pytest.fail("the item belongs to no variant")
        assert all(name in item for name in keys)
    assert found == {0, 1, 2, 3}


def test_without_variants_nothing_is_drawn(clip: TrainingClip, features: ClipFeatures) -> None:
    with pytest.raises(ValueError, match=r"data\.frame_variants is -1: use at least 0"):
        UNetDataConfig(frame_variants=-1)
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(vary_frames(frames, 0, "0" * 40), frames)
    np.testing.assert_array_equal(vary_frames(frames, 1, "0" * 40), frames[:, :, ::-1])
    colours = [vary_frames(frames, 2, key).astype(int) for key in ("0" * 40, "1" * 40)]
    assert 1 < np.abs(colours[0] - frames).mean() < 40
    assert not np.array_equal(colours[0], colours[1])
