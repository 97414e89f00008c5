"""Training of the U-Net from a configuration to weights for inference."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from latentsync.config import load_config
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.media.probe import probe_video
from latentsync.models.checkpoint import load_unet, save_checkpoint
from latentsync.recipes.train_unet import build_unet_trainer, initial_unet
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.weight_file import read_weight_file
from latentsync.training.unet_step import UNetStep
from tests.training_setup import write_unet_setup


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unet_setup(tmp_path_factory.mktemp("a training"))


def configured(setup: Path, tmp_path: Path, *overrides: str) -> UNetRun:
    return load_config(setup, UNetRun, [f"training.run_dir={tmp_path / 'run'}", *overrides])


def train(run: UNetRun):
    return build_unet_trainer(run, asdict(run)).fit()


def rows(run: UNetRun, split: str) -> list[dict]:
    lines = (Path(run.training.run_dir) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


@pytest.mark.parametrize("sampled", [False, True])
def test_latents_are_drawn_as_configured(setup: Path, tmp_path: Path, sampled: bool):
    run = configured(setup, tmp_path, f"data.sample_latents={str(sampled).lower()}", "data.cache_latents=false")
    step = build_unet_trainer(run, asdict(run)).step
    assert isinstance(step, UNetStep)
    assert step.sample_latents is sampled


@pytest.mark.parametrize("cached", ["false", "true"])
def test_trains_validates_and_exports_weights_that_infer(setup: Path, tmp_path: Path, cached: str):
    run = configured(setup, tmp_path, f"data.cache_latents={cached}")
    report = train(run)
    folder = tmp_path / "run"
    assert report.global_step == 2
    assert [row["step"] for row in rows(run, "train")] == [1, 2]
    validation = rows(run, "validation")[-1]
    assert validation["loss"] == pytest.approx(validation["epsilon"])
    assert 0 <= validation["sync_confidence"] <= 1
    assert -15 <= validation["sync_offset"] <= 15
    unet = load_unet(run.model, folder / "latentsync_unet.pt", resolution=run.data.resolution)
    fresh = initial_unet(run)
    changed = [name for name, value in fresh.state_dict().items() if not torch.equal(value, unet.state_dict()[name])]
    assert "conv_out.weight" in changed
    video = folder / "validation" / "step_00000002" / "video_0.mp4"
    info = probe_video(video)
    assert (info.width, info.height) == (2 * run.data.resolution, run.data.resolution)
    assert info.has_audio
    assert video.with_suffix(".png").is_file()
    assert (folder / "charts" / "loss.png").is_file()
    assert json.loads((folder / "train_clips.json").read_text())["num_usable"] == 3


def test_stage_2_starts_from_stage_1_and_leaves_the_rest_alone(setup: Path, tmp_path: Path):
    first = configured(setup, tmp_path, "model.use_motion_module=false")
    stage_1 = initial_unet(first).state_dict()
    save_checkpoint(tmp_path / "stage1.pt", stage_1, 7)
    second = configured(
        setup, tmp_path, f"initial={tmp_path / 'stage1.pt'}", "trainable=[motion_modules.,attentions.]",
        "training.validate_every=0",
    )  # fmt: skip
    train(second)
    stage_2 = read_weight_file(tmp_path / "run" / "latentsync_unet.pt")["state_dict"]
    assert any("motion_modules." in name for name in stage_2)
    for name, value in stage_1.items():
        if "attentions." not in name:
            assert torch.equal(stage_2[name], value.half()), name


def test_training_needs_clips(setup: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"data\.train_clips is not set"):
        train(configured(setup, tmp_path, "data.train_clips=null"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "no video.mp4").write_text("words")
    with pytest.raises(InputError, match="none of the 1 clips"):
        train(configured(setup, tmp_path, f"data.train_clips={tmp_path / 'text'}"))


def test_a_missing_judge_is_named_with_its_remedy(setup: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"vgg16-397923af\.pth.*download_weights --training"):
        train(configured(setup, tmp_path, "losses.perceptual.weight=0.1"))


def test_a_vae_of_other_channels_is_refused(setup: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"model\.in_channels=13"):
        train(configured(setup, tmp_path, "model.in_channels=25", "model.out_channels=8"))


def test_a_few_step_student_is_exported_as_changes_of_its_teacher(setup: Path, tmp_path: Path):
    base = tmp_path / "stage2.pt"
    save_checkpoint(base, initial_unet(configured(setup, tmp_path)).state_dict(), 7)
    syncnet = setup.parent / "syncnet.yaml"
    run = configured(
        setup, tmp_path, f"initial={base}", "distillation.teacher_steps=2", "export_changes=true",
        "trainable=[conv_out.]", "losses.epsilon.weight=0", "losses.latent.weight=1", "losses.sync.weight=0.05",
        f"losses.sync.config={syncnet}", f"losses.sync.checkpoint={syncnet.with_suffix('.pt')}",
        "data.windows_per_clip=1", "data.num_mel_columns=16", "validation.num_videos=0",
    )  # fmt: skip
    train(run)
    assert rows(run, "train")[-1].keys() >= {"latent", "sync"}
    exported = tmp_path / "run" / "latentsync_unet.pt"
    assert read_weight_file(exported)["state_dict"].keys() == {"conv_out.weight", "conv_out.bias"}
    student, teacher = (load_unet(run.model, path).state_dict() for path in (exported, base))
    changed = {name for name, value in student.items() if not torch.equal(value, teacher[name])}
    assert changed == {"conv_out.weight", "conv_out.bias"}


def test_distillation_needs_a_teacher(setup: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="distillation and export_changes require initial weights"):
        configured(setup, tmp_path, "distillation.teacher_steps=2")
