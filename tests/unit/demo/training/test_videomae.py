"""The small VideoMAE: its items, losses and export, and the corrupted windows of its validation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from demo.synthetic.clip_set import Clip, find_clips
from demo.training.demo_network import DemoRun
from demo.training.videomae import (
    VIDEOMAE,
    SelfSupervisedVideoMae,
    VideoMaeStep,
    VideoMaeValidator,
    contrastive_loss,
    deviation_penalty,
    feature_weights,
)
from demo.training.videomae_windows import LIP_SHIFTS, MaskedWindows, corrupted_windows
from latentsync.data.batching import ItemKey, collate
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize, load_small_videomae
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import StepContext
from tests.unit.eval.demo_weights.clips import write_clip

SIZE = VideoMaeSize(
    image_size=16, patch_size=8, tubelet_size=2, num_frames=8, width=16, depth=1, num_heads=2, mlp_width=24
)
NUM_FRAMES, SIDE = 40, 32


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    """Three clips of a bar that moves up and down before a pattern that is the same in every patch."""
    root = tmp_path_factory.mktemp("clips")
    pattern = np.tile(np.random.default_rng(0).integers(40, 200, (8, 8, 3)).repeat(2, 0).repeat(2, 1), (2, 2, 1))
    for index in range(3):
        crops = np.repeat(pattern[None], NUM_FRAMES, axis=0).astype(np.uint8)
        for frame in range(NUM_FRAMES):
            crops[frame, 0, 0] = frame
            top = 16 + int(6 + 5 * np.sin(frame / (2 + index)))
            crops[frame, top : top + 4, 8:24] = 250
        write_clip(root / f"clip_{index}", crops, np.zeros((NUM_FRAMES, 2), dtype=np.float32), np.zeros(1))
    return find_clips(root)


def test_an_item_is_a_function_of_its_key(clips):
    windows = MaskedWindows(clips, seed=3, size=SIZE)
    first, again, later = (windows[key] for key in (ItemKey(1, 0), ItemKey(1, 0), ItemKey(1, 1)))
    for name in ("pixels", "masked", "gain", "offset"):
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], later[name])
    assert first["pixels"].shape == (8, 8, 3, SIDE, SIDE)
    assert first["masked"].shape == (2, 16)
    assert set(first["masked"].sum(-1).flat) == {12}


def test_the_windows_of_an_item_are_different_moments_of_one_clip(clips):
    item = MaskedWindows(clips, seed=3, size=SIZE)[ItemKey(1, 0)]
    mirrored = item["pixels"][0, 0, 0, 0, 0] != item["pixels"][0, 0, 1, 0, 0]
    corner = item["pixels"][..., 0, 0, -1 if mirrored else 0]
    starts = corner[:, 0].astype(int)
    assert len(set(starts)) == 8
    assert np.array_equal(corner, starts[:, None] + np.arange(8))


def test_features_are_those_of_the_frozen_network(clips):
    torch.manual_seed(0)
    network = SelfSupervisedVideoMae(SIZE).eval()
    nn.init.normal_(network.fc_norm.bias)
    assert not network.fc_norm.weight.requires_grad
    exported = VideoFeatures(SIZE).eval()
    exported.load_state_dict(feature_weights(network.state_dict()))
    frames = torch.rand(1, 2, 8, 3, 16, 16)
    masked = torch.zeros(1, 2, 16, dtype=torch.bool)
    masked[..., 0] = True  # the decoder needs at least one masked patch
    _, features = network(frames, masked)
    for view in (0, 1):
        tokens = exported.encoder(frames[:, view], masked[:, view]).last_hidden_state
        torch.testing.assert_close(features[:, view], exported.fc_norm(tokens.mean(1)))


def test_the_other_view_is_found_among_the_windows_of_a_clip():
    one_hot = torch.eye(4).repeat(3, 1, 1)
    loss, found = contrastive_loss(torch.stack([one_hot, 5 * one_hot], dim=2))
    assert float(found) == 1
    assert float(loss) == pytest.approx(float(np.log(1 + 3 * np.exp(-10))), rel=1e-3)
    loss, found = contrastive_loss(torch.stack([one_hot, one_hot.roll(1, 1)], dim=2))
    assert float(found) == 0
    assert float(loss) == pytest.approx(10, rel=1e-2)


def test_the_deviation_is_within_clips():
    still = torch.zeros(2, 5, 2, 3) + torch.randn(2, 1, 2, 3)
    assert float(deviation_penalty(still)) == pytest.approx(0.6, abs=2e-3)
    assert float(deviation_penalty(still + torch.linspace(-2, 2, 5)[:, None, None])) == 0


def test_steps_lower_the_losses_and_the_export_loads(clips, tmp_path):
    torch.manual_seed(0)
    network = SelfSupervisedVideoMae(SIZE)
    step, windows = VideoMaeStep(network, SIZE), MaskedWindows(clips, 0, SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    rows = []
    for index in range(40):
        result = step(network, collate([windows[ItemKey(clip, index)] for clip in (0, 1, 2)]), StepContext(index, 40))
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        rows.append([float(result.metrics["masked_loss"]), float(result.metrics["missing_spread"])])
    first, last = np.mean(rows[:4], axis=0), np.mean(rows[-4:], axis=0)
    assert last[0] < 0.8 * first[0]
    assert last[1] < 0.9 * first[1]
    step.export(network.state_dict(), tmp_path / "videomae.pt", 40, {})
    assert load_small_videomae(tmp_path / "videomae.pt").size == SIZE


def test_every_corruption_is_what_its_name_says(clips):
    windows = corrupted_windows(clips[0], clips[1], SIZE.num_frames, np.random.default_rng(0))
    true = windows["true"]
    start = next(i for i in range(NUM_FRAMES) if np.array_equal(clips[0].crops[i].transpose(2, 0, 1), true[0]))
    for shift in LIP_SHIFTS:
        late = clips[0].crops[start + shift : start + shift + 8].transpose(0, 3, 1, 2)
        assert np.array_equal(windows[f"lips_{shift}"][:, :, 16:], late[:, :, 16:])
        assert np.array_equal(windows[f"lips_{shift}"][:, :, :16], true[:, :, :16])
    moved = [
        sum(not np.array_equal(a, b) for a, b in zip(windows[f"shuffled_{s}"], true, strict=True)) for s in (0.25, 1)
    ]
    assert moved[0] <= 2
    assert moved[1] >= 6
    assert np.array_equal(windows["lips_frozen"][5, :, 16:], true[0, :, 16:])


def test_metrics_of_the_validator(clips):
    torch.manual_seed(0)
    network = SelfSupervisedVideoMae(SIZE)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    metrics = VideoMaeValidator(clips[:2], SIZE)(network, Path("unused"), 0)
    assert metrics["trivial_loss"] == pytest.approx(127 / 128, abs=0.01)  # variance 1 of 128 pixels, less the mean
    assert metrics["masked_loss"] > 0.9 * metrics["trivial_loss"]
    assert 0 <= metrics["found"] <= 1
    distances = [value for name, value in metrics.items() if name.startswith(("shuffled", "lips", "other"))]
    assert len(distances) == 9
    assert all(0 < value < 4 for value in distances)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_trainer_trains_it(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("demo.training.videomae.DEMO_SIZE", SIZE)
    run = DemoRun()
    run.data.train_clips = run.data.validation_clips = str(clips[0].folder.parent)
    run.training = TrainerConfig(
        run_dir=str(tmp_path / "run"), max_steps=2, batch_size=2, num_workers=0, device="cpu", validate_every=2
    )
    report = VIDEOMAE.build_trainer(run, {"data": {"train_clips": "clips"}}).fit()
    assert report.global_step == 2
    assert "shuffled_1" in report.validation
    assert load_small_videomae(tmp_path / "run" / "videomae.pt").size == SIZE
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"train", "validation"}
