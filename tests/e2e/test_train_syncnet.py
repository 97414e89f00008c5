"""The SyncNet's training and evaluation as a user runs them, tiny."""

import json
import subprocess
from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from eval import eval_syncnet_acc
from latentsync.config import load_config
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.train_syncnet import advice
from latentsync.storage.weight_file import read_weight_file
from scripts import train_syncnet
from tests.stand_in_weights import write_vae
from tests.unit.data.clips import make_clip

TINY = """
model:
  audio_encoder:
    {in_channels: 1, block_out_channels: [8, 8], downsample_factors: [[8, 4], [10, 13]], norm_num_groups: 4}
  visual_encoder:
    {in_channels: 48, block_out_channels: [8, 8], downsample_factors: [[4, 4], [4, 8]], norm_num_groups: 4}
data: {resolution: 32, num_frames: 16, min_offset_frames: 3, cache_frames: true}
pairs: {windows_per_clip: 2, contrastive_weight: 1.0}
training: {max_steps: 2, batch_size: 2, log_every: 1, validate_every: 2, num_workers: 0, num_threads: 1, device: cpu}
validation: {windows_per_clip: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, with clips and a configuration."""
    folder = tmp_path_factory.mktemp("train") / "my clips"
    (folder / "train").mkdir(parents=True)
    (folder / "val").mkdir()
    for number in range(2):
        make_clip(folder / "train" / f"clip {number}.mp4", 40, side=32, seed=number)
    make_clip(folder / "val" / "clip.mp4", 40, side=32, seed=9)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def test_shell_script_trains_and_the_result_is_evaluated(folder, repository, capsys):
    command = [
        str(repository / "train_syncnet.sh"), "--config", "tiny.yaml", "data.train_clips=train",
        "data.validation_clips=val", "training.run_dir='my run'",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "my run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2]
    validation = next(row for row in rows if row["split"] == "validation")
    assert {"sync_loss", "accuracy", "best_accuracy", "best_threshold", "offset_zero"} <= set(validation)
    content = read_weight_file(folder / "my run" / "stable_syncnet.pt")
    assert content["train_step_list"] == [1, 2]
    assert content["val_loss_list"] == [validation["sync_loss"]]

    weights = str(folder / "my run" / "stable_syncnet.pt")
    arguments = ["--config", str(folder / "tiny.yaml"), "--checkpoint", weights, "--clips", str(folder / "val")]
    assert eval_syncnet_acc.main([*arguments, "--windows_per_clip", "2", "--out", str(folder / "accuracy.json")]) == 0
    report = json.loads((folder / "accuracy.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["num_clips"] == 1
    # not the accuracy: after two steps all similarities are nearly equal, and rounding decides
    assert report["sync_loss"] == pytest.approx(validation["sync_loss"], rel=1e-3)
    low, high = report["interval_95"]["accuracy"]
    assert low - 1e-3 <= report["accuracy"] <= high + 1e-3
    assert eval_syncnet_acc.main([*arguments[:3], "nowhere.pt", *arguments[4:]]) == 2
    assert "nowhere.pt does not exist" in capsys.readouterr().err


def test_latent_space_variant_trains(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = AutoencoderKL(
        **{
            "block_out_channels": (4, 4, 4),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
        },
        norm_num_groups=2,
        latent_channels=2,
        mid_block_add_attention=False,
    )
    vae.save_pretrained(tmp_path / "vae")
    changes = [
        f"data.train_clips={json.dumps(str(folder / 'train'))}", f"data.validation_clips={folder / 'val'}",
        "data.latent_space=true", "data.lower_half=false", "data.cache_frames=false", f"vae={tmp_path / 'vae'}",
        "model.visual_encoder.in_channels=32", "model.visual_encoder.downsample_factors=[[4,4],[2,2]]",
        "pairs.windows_per_clip=1", "pairs.contrastive_weight=0", "training.mixed_precision='no'",
    ]  # fmt: skip
    assert train_syncnet.main(["--config", str(folder / "tiny.yaml"), *changes]) == 0
    assert (tmp_path / "runs" / "training" / "stable_syncnet.pt").is_file()


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("syncnet_16_pixel_attn", 401.3),
        ("syncnet_16_pixel", 371.8),
        ("syncnet_16_latent", 65.5),
        ("syncnet_25_pixel", 103.7),
    ],
)
def test_dry_run_prints_the_published_sizes(name, millions, folder, tmp_path, repository, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = ["--config", str(repository / "configs" / "syncnet" / f"{name}.yaml")]
    arguments += ["data.train_clips=train", "data.validation_clips=val"]
    if name.endswith("latent"):
        write_vae(tmp_path / "vae")
        arguments.append(f"vae={tmp_path / 'vae'}")
    assert train_syncnet.main([*arguments, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert f"{millions} M" in printed
    assert "batch_size: 256" in printed
    assert "1.0e-05" in printed


def test_missing_clips_and_wrong_inputs_are_one_line(folder, repository, capsys):
    published = str(repository / "configs" / "syncnet" / "syncnet_16_pixel.yaml")
    assert train_syncnet.main(["--config", published]) == 2
    assert "data.train_clips is not set" in capsys.readouterr().err
    assert train_syncnet.main(["--config", published, "data.train_clips=somewhere"]) == 2
    assert "data.validation_clips is not set" in capsys.readouterr().err
    clips = [f"data.{name}_clips={folder / short}" for name, short in (("train", "train"), ("validation", "val"))]
    assert train_syncnet.main(["--config", str(folder / "tiny.yaml"), *clips, "data.num_frames=5"]) == 2
    message = capsys.readouterr().err
    assert "in_channels is 48, but 5 frames of 3 channels make 15" in message
    assert message.count("\n") == 1


def test_advice_goes_with_the_configuration(repository):
    published = load_config(repository / "configs" / "syncnet" / "syncnet_25_pixel.yaml", SyncNetRun)
    lines = " ".join(advice(published))
    assert "windows_per_clip" in lines
    assert "num_frames=16" in lines
    assert "batch_size" not in lines
    demo = load_config(repository / "configs" / "demo" / "syncnet.yaml", SyncNetRun)
    lines = " ".join(advice(demo))
    assert "windows_per_clip" not in lines
    assert "batch_size" in lines
