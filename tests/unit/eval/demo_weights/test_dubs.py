"""Measurement of dubs, and their rendered ground truth, with stand-ins for the networks."""

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from demo.synthetic.clip_set import Clip, DatasetConfig, find_clips, make_dataset
from eval.demo_weights import dubs
from eval.demo_weights.dubs import DubNetworks, measure_dubs, rendered_truth
from eval.demo_weights.settings import Evaluation
from latentsync.errors import InputError
from tests.unit.eval.demo_weights.clips import NUM_FRAMES, write_clips


class BarReader(torch.nn.Module):
    """Returns the height of the bar that is the mouth, and the width that the clips derive from it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        opening = ((images[:, 0, :, 32] < -0.8).sum(1).float() / 2 - 1) / 7
        return torch.stack([opening, 1 - opening**2], dim=1)


class LoudnessScorer:
    """Similarity 1 at offset 0 when the bar is as high as the sound is loud."""

    def curve(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        seen = (crops[:, :, 32, 0] < 25).sum(axis=1)
        heard = np.abs(samples).reshape(len(crops), 640).mean(axis=1)
        curve = np.zeros(31)
        curve[15] = np.corrcoef(seen, heard)[0, 1]
        return curve


def never_far(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).square().mean(dim=(1, 2, 3))


@pytest.fixture
def evaluation(tmp_path, monkeypatch) -> Evaluation:
    weights = tmp_path / "weights"
    (weights / "vae").mkdir(parents=True)
    for name in ("latentsync_unet.pt", "whisper.pt", "stable_syncnet.pt", "mouth_reader.pt", "vae/config.json"):
        (weights / name).write_text(name)
    monkeypatch.setattr(dubs, "rendered_truth", lambda clip, driver, num_frames, cache: driver.crops[:num_frames])
    return Evaluation(
        clips=find_clips(write_clips(tmp_path / "clips", 3)),
        weights=weights,
        unet=weights / "latentsync_unet.pt",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        num_dubs=2,
        num_own=1,
        num_frames=NUM_FRAMES - 10,
    )


def install(monkeypatch, generates_truth: bool) -> list[str]:
    """Install stand-ins for all networks; the list records the dubs."""
    dubbed: list[str] = []

    def dub(crops: np.ndarray, speech: np.ndarray) -> np.ndarray:
        dubbed.append("dub")
        opening = np.abs(speech).reshape(NUM_FRAMES, 640).mean(axis=1) * 32768 / 4000 / 0.798
        result = np.array(crops)
        if generates_truth:
            result[:, 37:53, 22:42] = 100
            for frame, share in enumerate(opening[: len(crops)]):
                half = round(1 + 7 * min(share, 1.0))
                result[frame, 45 - half : 45 + half, 22:42] = 20
        return result

    networks = DubNetworks(cast(Any, dub), cast(Any, BarReader()), cast(Any, LoudnessScorer()), cast(Any, never_far))
    monkeypatch.setattr(dubs, "load_networks", lambda evaluation: networks)
    return dubbed


def test_a_good_dub_follows_the_driver_and_not_the_original(evaluation, monkeypatch):
    install(monkeypatch, generates_truth=True)
    values = measure_dubs(evaluation)
    assert (values["num_dubs"], values["num_own"]) == (2, 1)
    assert values["opening"] > 0.97
    assert values["opening_worst"] > 0.97
    assert values["width"] > 0.9
    assert abs(values["opening_original"]) < 0.7
    assert values["sync_ratio"] == pytest.approx(1, abs=0.03)
    assert values["sync_offset_0"] == 1
    assert values["own_opening"] > 0.97


def test_a_dub_that_changes_nothing_is_measured(evaluation, monkeypatch):
    install(monkeypatch, generates_truth=False)
    values = measure_dubs(evaluation)
    assert values["opening_original"] > 0.99
    assert values["opening_worst"] < 0.7
    assert values["sync_ratio"] < 0.8
    assert values["own_mouth_psnr_db"] > 60
    assert values["mouth_psnr_db"] < 30


def test_an_interrupted_run_goes_on_and_new_measuring_networks_need_no_new_dubs(evaluation, monkeypatch):
    dubbed = install(monkeypatch, generates_truth=True)
    first = measure_dubs(evaluation)
    assert len(dubbed) == 3
    rows = (evaluation.out / "dubs.jsonl").read_text().splitlines(keepends=True)
    (evaluation.out / "dubs.jsonl").write_text(rows[0] + rows[1][:20])
    assert measure_dubs(evaluation) == first
    (evaluation.weights / "mouth_reader.pt").write_text("another reader")
    measure_dubs(evaluation)
    assert len(dubbed) == 3
    assert len((evaluation.out / "dubs.jsonl").read_text().splitlines()) == 1 + 1 + 2 + 3
    evaluation.unet.write_text("another U-Net")
    measure_dubs(evaluation)
    assert len(dubbed) == 6


def test_every_pair_has_a_contact_sheet(evaluation, monkeypatch):
    install(monkeypatch, generates_truth=True)
    measure_dubs(evaluation)
    names = sorted(path.name for path in (evaluation.out / "dubs").iterdir())
    assert names == [
        "clip_00000_says_clip_00000.png",
        "clip_00000_says_clip_00001.png",
        "clip_00001_says_clip_00002.png",
    ]


def test_one_clip_cannot_speak_for_another(evaluation, monkeypatch):
    install(monkeypatch, generates_truth=True)
    lonely = Evaluation(evaluation.clips[:1], evaluation.weights, evaluation.unet, evaluation.out, Path("cache"))
    with pytest.raises(InputError, match="two clips"):
        measure_dubs(lonely)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, espeak) -> list[Clip]:
    root = tmp_path_factory.mktemp("rendered")
    make_dataset(DatasetConfig(root, num_clips=2, seconds=0.8, seed=3, resolution=64))
    return find_clips(root)


def test_only_the_lower_face_moves_with_the_other_speech(clips, tmp_path, monkeypatch):
    truth = rendered_truth(clips[0], clips[1], 12, tmp_path)
    assert truth.shape == (12, 64, 64, 3)
    np.testing.assert_array_equal(truth[:, :30], clips[0].crops[:12, :30])
    assert np.abs(truth[:, 35:].astype(int) - clips[0].crops[:12, 35:]).max() > 20
    monkeypatch.setattr(dubs, "_render", None)
    np.testing.assert_array_equal(rendered_truth(clips[0], clips[1], 12, tmp_path), truth)


def test_own_speech_needs_no_render(clips, tmp_path):
    np.testing.assert_array_equal(rendered_truth(clips[0], clips[0], 9, tmp_path), clips[0].crops[:9])


def test_clips_of_another_renderer_are_refused(clips, tmp_path):
    folder = tmp_path / "clip_00000"
    shutil.copytree(clips[0].folder, folder)
    np.save(folder / "crops.npy", 255 - clips[0].crops)
    with pytest.raises(InputError, match="make the clips anew"):
        rendered_truth(Clip(folder), clips[1], 4, tmp_path / "cache")
