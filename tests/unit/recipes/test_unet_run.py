"""The documented line of the published training, against its values; keys of earlier versions."""

import shlex
from pathlib import Path

import pytest

from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import REPOSITORY_ROOT


def documented_overrides() -> list[str]:
    text = (REPOSITORY_ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("./train_unet.sh") and "decay_vectors" in line]
    return [word for word in shlex.split(line) if "=" in word and not word.startswith("data.train_clips")]


def test_the_documented_line_selects_the_published_training():
    config = REPOSITORY_ROOT / "configs" / "unet" / "stage2.yaml"
    default, published = load_config(config, UNetRun), load_config(config, UNetRun, documented_overrides())
    chosen = [
        (
            run.diffusion.audio_dropout,
            run.training.optimizer.decay_vectors,
            run.data.sample_latents,
            run.losses.sync.antialias,
        )
        for run in (default, published)
    ]
    assert chosen == [(0.1, False, False, True), (0.0, True, True, False)]
    optimizer = published.training.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 1e-5, 0.01)
    diffusion, epsilon = published.diffusion, published.losses.epsilon
    assert (diffusion.shared_noise, diffusion.late_timesteps, diffusion.pure_noise_prob) == ([1.0], 1.0, 0.0)
    assert (epsilon.mouth_emphasis, epsilon.high_noise_emphasis) == (0.0, 0.0)


def test_old_keys_are_read_as_their_present_names(tmp_path: Path):
    old, new = "diffusion: {start_share: 0.3}\n", "diffusion: {pure_noise_prob: 0.2}\n"
    (tmp_path / "old.yaml").write_text(old)
    (tmp_path / "new.yaml").write_text(f"base: old.yaml\n{new}")
    (tmp_path / "over_new.yaml").write_text(f"base: new.yaml\n{old}")

    def value(name: str, *overrides: str) -> float:
        return load_config(tmp_path / name, UNetRun, overrides).diffusion.pure_noise_prob

    assert (value("old.yaml"), value("new.yaml"), value("over_new.yaml")) == (0.3, 0.2, 0.3)
    assert value("new.yaml", "diffusion.start_share=0.5") == 0.5
    assert value("old.yaml", "diffusion.pure_noise_prob=0.6", "diffusion.audio_dropout=0") == 0.6
    with pytest.raises(ConfigError, match=r"diffusion: audio_dropout and pure_noise_prob lie in \[0, 1\]"):
        value("old.yaml", "diffusion.start_share=2")
