"""The command of the demo trainings: all configurations load, and errors are one line."""

import pickle
from pathlib import Path

import pytest

from demo.synthetic.clip_set import find_clips
from demo.training.__main__ import NETWORKS, main
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.weights import REPOSITORY_ROOT
from tests.unit.eval.demo_weights.clips import write_clips

CONFIGS = REPOSITORY_ROOT / "configs" / "demo"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dry_run_tells_the_size(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        write_clips(tmp_path / "data" / part, 1)
    more = ["initial=null"] if name == "vae_decoder" else []  # starts from the weights of the VAE's training
    assert main([name, "--dry_run", "training.device=cpu", "training.max_steps=7", *more]) == 0
    output = capsys.readouterr().out
    assert "max_steps: 7" in output
    assert "0.0 M" not in next(line for line in output.splitlines() if line.startswith("parameters:"))


@pytest.mark.parametrize("name", ["audio_encoder_continued", "vae_continued"])
def test_continued_trainings_start_from_the_first_one(name):
    network = NETWORKS[name.removesuffix("_continued")]
    first = load_config(CONFIGS / f"{name.removesuffix('_continued')}.yaml", network.schema)
    second = load_config(CONFIGS / f"{name}.yaml", network.schema)
    assert second.initial.startswith(f"{first.training.run_dir}/")
    assert second.training.run_dir != first.training.run_dir
    assert second.training.optimizer.matrix_lr < first.training.optimizer.matrix_lr
    assert second.training.ema_decay == first.training.ema_decay


def test_the_command_trains(tmp_path):
    clips = write_clips(tmp_path / "clips", 2)
    overrides = {
        "data.train_clips": clips,
        "data.validation_clips": clips,
        "training.run_dir": tmp_path / "run",
        "training.max_steps": 1,
        "training.batch_size": 2,
        "training.device": "cpu",
        "training.validate_every": 0,
    }
    assert main(["mouth_reader", *(f"{key}={value}" for key, value in overrides.items())]) == 0
    assert (tmp_path / "run" / "mouth_reader.pt").is_file()


def test_wrong_input_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["unet"])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["vae", f"data.train_clips={tmp_path}"]) == 2
    assert "no complete clips" in capsys.readouterr().err
    assert main(["vae", "small_crops_until=2"]) == 2
    assert "small_crops_until" in capsys.readouterr().err


def test_no_clips_is_a_clear_error(tmp_path: Path):
    with pytest.raises(InputError, match="no complete clips"):
        find_clips(tmp_path)


def test_a_clip_goes_to_workers_without_its_pictures(tmp_path):
    clip = find_clips(write_clips(tmp_path, 1))[0]
    assert len(clip.crops)
    assert len(pickle.dumps(clip)) < 1000
    assert pickle.loads(pickle.dumps(clip)) == clip
