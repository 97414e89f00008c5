import math

import numpy as np
import pytest
import torch
from torch import nn

from latentsync.models.checkpoint import load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoderConfig, SyncNetConfig
from latentsync.storage.weight_file import read_weight_file
from latentsync.training.syncnet_step import (
    ChanceWatchdog,
    PairsConfig,
    SyncNetStep,
    WatchdogConfig,
    balanced_accuracy,
    contrastive_loss,
    cross_entropy,
    relations,
    stacked_frames,
)
from latentsync.training.training_step import StepContext

START, HALFWAY = StepContext(0, 10), StepContext(5, 10)


class Given(nn.Module):
    """Stand-in for the network: returns its inputs as the embeddings."""

    def forward(self, frames: torch.Tensor, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return nn.functional.normalize(frames.flatten(1)), nn.functional.normalize(mel.flatten(1))


def step(pairs: PairsConfig, min_offset_frames: int = 3) -> SyncNetStep:
    return SyncNetStep(Given(), pairs, min_offset_frames, {"resolution": 64})


def vectors(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_published_pairs_are_own_sound_and_one_other():
    seen, own, other = (vectors(3, 4)[:, order] for order in ([0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 0, 1]))
    batch = {
        "frames": seen.view(3, 2, 2, 1, 1), "mel": own.view(3, 1, 4, 1), "other_mel": other.view(3, 1, 4, 1),
        "start": torch.tensor([0, 5, 9]), "clip": ["a", "b", "c"],
    }  # fmt: skip
    result = step(PairsConfig())(Given(), batch, START)
    positive = nn.functional.cosine_similarity(seen, own)
    negative = nn.functional.cosine_similarity(seen, other)
    expected = nn.functional.binary_cross_entropy(torch.cat([positive, negative]), torch.tensor([1.0] * 3 + [0.0] * 3))
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert float(result.metrics["sync_loss"]) == pytest.approx(result.loss.item())
    assert set(result.metrics) == {"sync_loss", "accuracy"}


def test_grouped_pairs_are_all_windows_of_the_clip_that_are_far_enough():
    seen, heard = vectors(2, 3, 4), vectors(2, 3, 4).flip(-1)
    batch = {
        "frames": seen.view(2, 3, 2, 2, 1, 1), "mel": heard.view(2, 3, 1, 4, 1),
        "start": torch.tensor([[0, 2, 9], [4, 7, 30]]), "clip": ["a", "b"],
    }  # fmt: skip
    result = step(PairsConfig(windows_per_clip=3))(Given(), batch, START)
    positive, negative = [], []
    for clip in range(2):
        for i in range(3):
            for j in range(3):
                cosine = nn.functional.cosine_similarity(seen[clip, i], heard[clip, j], dim=0).item()
                if i == j:
                    positive.append(cosine)
                elif abs(batch["start"][clip, i] - batch["start"][clip, j]) >= 3:
                    negative.append(cosine)
    assert len(negative) == 4 + 6
    expected = -(np.log(positive).mean() + np.log(1 - np.array(negative)).mean()) / 2
    assert result.loss.item() == pytest.approx(expected, rel=1e-2)
    accuracy = ((np.array(positive) > 0.5).mean() + (np.array(negative) <= 0.5).mean()) / 2
    assert float(result.metrics["accuracy"]) == pytest.approx(accuracy)


def test_warm_start_fades_out():
    batch = {
        "frames": vectors(2, 2, 1, 4, 1, 1), "mel": vectors(2, 2, 1, 4, 1).flip(3),
        "start": torch.tensor([[0, 9], [0, 9]]), "clip": ["a", "b"],
    }  # fmt: skip
    train = step(PairsConfig(windows_per_clip=2, contrastive_weight=2.0, contrastive_share=1.0))
    first, half = train(Given(), batch, START), train(Given(), batch, HALFWAY)
    added, added_half = (float(one.loss - one.metrics["sync_loss"]) for one in (first, half))
    assert added == pytest.approx(2 * float(first.metrics["contrastive_loss"]), rel=1e-5)
    assert added_half == pytest.approx(added / 2, rel=1e-5)
    ended = step(PairsConfig(windows_per_clip=2, contrastive_weight=2.0))(Given(), batch, HALFWAY)
    assert "contrastive_loss" not in ended.metrics


def test_relations_know_clips_and_distances():
    same, far = relations(["a", "a", "b"], torch.tensor([0, 2, 5]), 3)
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert far.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_contrastive_loss_leaves_out_what_is_masked():
    similarity = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.7, 0.3], [0.5, 0.1, 0.6]])
    others = torch.ones(3, 3, dtype=torch.bool)
    others[0, 1] = False
    rows = [[0, 2], [1, 0, 2], [2, 0, 1]]
    columns = [[0, 1, 2], [1, 2], [2, 0, 1]]

    def surprise(values: list[float]) -> float:
        powers = np.exp(np.array(values) / 0.2)
        return -math.log(powers[0] / powers.sum())

    table = similarity.tolist()
    by_row = np.mean([surprise([table[i][j] for j in chosen]) for i, chosen in enumerate(rows)])
    by_column = np.mean([surprise([table[i][j] for i in chosen]) for j, chosen in enumerate(columns)])
    assert contrastive_loss(similarity, others, 0.2).item() == pytest.approx((by_row + by_column) / 2, rel=1e-5)


def test_both_kinds_weigh_the_same_and_the_ends_keep_a_gradient():
    assert cross_entropy(torch.full((2,), 0.5), torch.full((7,), 0.5)).item() == pytest.approx(math.log(2))
    weighted = cross_entropy(torch.full((2,), 0.5), torch.full((7,), 0.2), 0.75).item()
    assert weighted == pytest.approx(-0.25 * math.log(0.5) - 0.75 * math.log(0.8), rel=1e-3)
    assert balanced_accuracy(torch.tensor([0.9, 0.4]), torch.tensor([0.1, 0.2, 0.9, 0.3])).item() == pytest.approx(
        0.625
    )
    worst = torch.zeros(1, requires_grad=True)
    cross_entropy(worst, torch.ones(1)).backward()
    assert worst.grad is not None
    assert worst.grad.item() < -100


def test_frames_are_stacked_frame_major():
    frames = torch.arange(2 * 16 * 3 * 4 * 4).float().view(2, 16, 3, 4, 4)
    stacked = stacked_frames(frames)
    assert stacked.shape == (2, 48, 4, 4)
    assert torch.equal(stacked[:, 3], frames[:, 1, 0])


def test_export_is_the_published_format(tmp_path):
    config = SyncNetConfig(
        SyncEncoderConfig(1, [8], [[4, 4]], norm_num_groups=4), SyncEncoderConfig(6, [8], [[4, 4]], norm_num_groups=4)
    )
    syncnet = StableSyncNet(config)
    history = {
        "train_step": [1, 2],
        "train_sync_loss": [0.7, 0.6],
        "validation_step": [2],
        "validation_sync_loss": [0.5],
    }
    train = SyncNetStep(syncnet, PairsConfig(), 1, {"resolution": 64})
    train.export(syncnet.state_dict(), tmp_path / "stable_syncnet.pt", 2, history)
    content = read_weight_file(tmp_path / "stable_syncnet.pt")
    assert content["global_step"] == 2
    assert content["config"] == {"resolution": 64}
    lists = [content[name] for name in ("train_step_list", "train_loss_list", "val_step_list", "val_loss_list")]
    assert lists == [[1, 2], [0.7, 0.6], [2], [0.5]]
    loaded = load_syncnet(config, tmp_path / "stable_syncnet.pt", dtype=torch.float32)
    for name, tensor in syncnet.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], tensor, atol=1e-3), name


@pytest.mark.parametrize(
    "values", [{"windows_per_clip": 0}, {"negative_weight": 1.0}, {"temperature": 0.0}, {"contrastive_share": 0.0}]
)
def test_bad_pairs_are_named(values):
    with pytest.raises(ValueError, match="pairs"):
        PairsConfig(**values)


CHANCE = 0.6931


def warnings(watchdog: ChanceWatchdog, losses: dict[int, float]) -> dict[int, str]:
    lines = {step: watchdog(step, {"loss": 5.0, "sync_loss": loss}) for step, loss in losses.items()}
    return {step: line for step, line in lines.items() if line is not None}


def test_flat_loss_is_told_once_then_each_time_the_steps_double():
    watchdog = ChanceWatchdog(WatchdogConfig(patience_steps=100), ["do this", "do that"])
    lines = warnings(watchdog, dict.fromkeys(range(10, 450, 10), CHANCE))
    assert list(lines) == [100, 200, 400]
    assert "0.693) after 100 steps" in lines[100]
    assert lines[100].endswith("do this; do that")
    assert "\n" not in lines[100]


def test_falling_loss_is_left_alone_even_where_it_swings_back():
    watchdog = ChanceWatchdog(WatchdogConfig(patience_steps=100), ["do this"])
    assert warnings(watchdog, {50: 0.66, 100: CHANCE, 200: CHANCE}) == {}


def test_within_the_margin_is_still_chance():
    assert warnings(ChanceWatchdog(WatchdogConfig(100, margin=0.02), ["x"]), {50: 0.68, 100: 0.68})
    assert not warnings(ChanceWatchdog(WatchdogConfig(100, margin=0.01), ["x"]), {50: 0.68, 100: 0.68})


def test_no_patience_is_no_watch():
    assert warnings(ChanceWatchdog(WatchdogConfig(patience_steps=0), ["x"]), {1: CHANCE, 10**6: CHANCE}) == {}


@pytest.mark.parametrize("values", [{"patience_steps": -1}, {"margin": 0.0}])
def test_bad_settings_are_named(values):
    with pytest.raises(ValueError, match="watchdog"):
        WatchdogConfig(**values)
