"""SyncNet-v2 for who speaks: single windows give what the scorer of whole clips computes from the same input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentsync.audio.sample_source import ArraySamples
from latentsync.face.tracker import FaceTracker, Track
from latentsync.judges.face_tracks import FaceTrack, crop_track
from latentsync.judges.syncnet_v2 import SyncNetV2, mfcc_coefficients, mfcc_windows
from latentsync.judges.syncnet_v2_windows import SyncNetV2Windows
from tests.golden_values import det, fill_deterministic
from tests.unit.face.faces import detection


@pytest.fixture(scope="module")
def network() -> SyncNetV2:
    network = SyncNetV2().eval().requires_grad_(False)
    fill_deterministic(network)
    return network


def moving_track(num_frames: int) -> Track:
    tracker = FaceTracker()
    for i in range(num_frames):
        tracker.add([detection(100 + 2 * i, 80 + i % 3, 60)], False)
    (track,) = tracker.tracks()
    return track


def test_lips_match_the_golden_values(golden_dir, network):
    lips = torch.tensor(np.asarray(110 + det("sn/lip", (2, 3, 5, 224, 224), 60))).float()
    windows = [window.transpose(0, 1).flip(1) / 127.5 - 1 for window in lips]  # RGB in [-1, 1]
    expected = F.normalize(torch.from_numpy(np.load(golden_dir / "syncnet_v2.npz")["lip"])).numpy()
    np.testing.assert_allclose(SyncNetV2Windows(network).embed_video(windows), expected, atol=1e-5)


@pytest.mark.parametrize("num_samples", [32000, 31850])
def test_streamed_sound_is_that_of_the_whole_clip(network, num_samples):
    samples = np.random.default_rng(4).standard_normal(num_samples).astype(np.float32) * 0.1
    windows = mfcc_windows(mfcc_coefficients(samples), 20)
    expected = F.normalize(network.embed_audio(torch.from_numpy(windows))).numpy()
    starts = [-3, 0, 7, len(windows) - 1, len(windows), 200]
    embedded = SyncNetV2Windows(network).embed_audio(ArraySamples(samples), starts)
    np.testing.assert_allclose(embedded[1:4], expected[starts[1:4]], atol=1e-5)
    assert np.isnan(embedded[[0, 4, 5]]).all()
    later = SyncNetV2Windows(network).embed_audio(ArraySamples(samples), [9, 12])
    np.testing.assert_allclose(later, expected[[9, 12]], atol=1e-5)


def test_sound_shorter_than_a_window_is_unknown(network):
    assert np.isnan(SyncNetV2Windows(network).embed_audio(ArraySamples(np.zeros(100, np.float32)), [0, 1])).all()


def test_crops_are_the_published_ones(network):
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 256, (160, 240, 3), dtype=np.uint8) for _ in range(20)]
    track = moving_track(20)
    crops = SyncNetV2Windows(network).face_crops(track, 25.0)
    ours = torch.stack([crops.crop(i, frame, np.ones(2)) for i, frame in enumerate(frames)])
    published = np.stack(list(crop_track(frames, FaceTrack(0, track.boxes.astype(np.float64), 20))))
    rgb = ((ours + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(rgb, published)


def test_reduced_frames_show_the_same_region(network):
    image = np.zeros((160, 240, 3), np.uint8)
    image[:, 100:] = 200
    track = moving_track(3)
    large, small = (SyncNetV2Windows(network).face_crops(track, 25.0) for _ in range(2))
    difference = large.crop(0, image, np.ones(2)) - small.crop(0, image[::2, ::2], np.full(2, 0.5))
    assert difference.abs().mean() < 0.03
