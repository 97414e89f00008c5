"""The tiny VAE trains on the full one's latents, and its export is a folder that loads without a warning."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch

from benchmarks.tiny_vae import compare, times
from demo.training.vae_tiny import VAE_TINY, VaeTinyRun, build_tiny_vae
from latentsync.config import load_config
from latentsync.models.vae import load_vae, read_vae_shape
from latentsync.weights import REPOSITORY_ROOT
from tests.unit.demo.training.small_training import small_run

SMALL = {"channels": 8, "encoder_blocks": [0, 0, 0, 1], "decoder_blocks": [1, 0, 0, 0]}


def test_a_training_writes_a_vae_of_the_same_latents(clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    settings = {"log_every": 1, "save_every": 2, "validate_every": 2, "keep_last": 1}
    run = VaeTinyRun(**small_run(clips, tmp_path / "run", 2, 2, **settings), **SMALL, small_crops_until=0.5)
    report = VAE_TINY.build_trainer(run, {"seed": 0}).fit()
    assert report.validation["psnr_db"] > 3
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "psnr_db", "latent_error"} <= rows[0].keys()
    folder = tmp_path / "run" / "vae_tiny"
    caplog.clear()
    codec = load_vae(folder)
    assert not caplog.records
    assert read_vae_shape(folder) == read_vae_shape(REPOSITORY_ROOT / run.teacher)
    assert codec.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 8, 8, 8)

    codecs = {"full": load_vae(REPOSITORY_ROOT / run.teacher), "tiny": codec}
    rows = compare(codecs, clips, num_clips=1)
    assert [(row["encoder"], row["decoder"]) for row in rows] == list(product(codecs, codecs))
    assert float(rows[0]["psnr_db"]) > float(rows[-1]["psnr_db"])
    assert times(codecs, 64)[1]["VAE"] == "tiny"


def test_a_tiny_vae_has_no_weights_of_the_full_one():
    run = load_config(REPOSITORY_ROOT / "configs" / "demo" / "vae_tiny.yaml", VaeTinyRun)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in build_tiny_vae(run).parameters()) * 2 < 1.5e6
    assert all(name.startswith("vae.") for name, _ in VAE_TINY.build_meta_model(run).named_parameters())
