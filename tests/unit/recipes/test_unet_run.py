"""The documented line that selects the published training, against the values it stands for."""

import shlex

from latentsync.config import load_config
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
    assert (diffusion.shared_noise, diffusion.late_timesteps, diffusion.start_share) == ([1.0], 1.0, 0.0)
    assert (epsilon.mouth_emphasis, epsilon.high_noise_emphasis) == (0.0, 0.0)
