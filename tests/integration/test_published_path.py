"""benchmarks/published_path.py at tiny sizes."""

import json
import tempfile

import pytest

from benchmarks import published_path
from benchmarks.random_weights import write_config, write_weights
from benchmarks.weight_sizes import TINY
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.weight_file import read_weight_file
from latentsync.weights import UNET, WHISPER_TINY

NETWORKS = {"audio", "VAE encode", "U-Net", "VAE decode"}
PARTS = {"load", "faces", "read", "align", *NETWORKS, "colour match", "paste", "write", "whole"}


def test_every_part_is_measured_and_the_weights_are_removed(tmp_path, monkeypatch, capfd):
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(published_path, "measure_apart", published_path.measure)  # a process more takes seconds
    arguments = ["--size", "tiny", "--resolution", "256", "--frames", "3", "--steps", "2", "--device", "cpu"]
    arguments += ["--dtype", "float32", "--ways", "default", "published", "--out", str(out)]
    assert published_path.main(arguments) == 0
    results = json.loads((out / "published_path.json").read_text(encoding="utf-8"))["256"]
    assert results.keys() == {"default", "published"}
    assert all(result["seconds_per_frame"] > 0 for result in results.values())
    assert results["published"]["parts"]["U-Net"]["num_calls"] == 2
    result = results["default"]
    assert (result["num_frames"], result["num_synced"]) == (3, 3)
    assert result["parts"].keys() == PARTS
    assert result["parts"]["U-Net"]["num_calls"] == 2
    assert result["parts"]["paste"]["num_calls"] == 3
    assert all(part["seconds"] > 0 and part["memory_gib"] > 0.1 for part in result["parts"].values())
    assert "| U-Net |" in (out / "published_path.md").read_text(encoding="utf-8")
    assert list(temporary.iterdir()) == []


def test_a_missing_video_is_one_line(tmp_path, capfd):
    assert published_path.main(["--size", "tiny", "--video", str(tmp_path / "no.mp4")]) == 2
    assert "no.mp4" in capfd.readouterr().err


@pytest.mark.parametrize("resolution", [256, 512])
def test_the_published_formats_are_read_by_the_published_configurations(tmp_path, resolution):
    write_weights(tmp_path, TINY)
    run = load_config(write_config(tmp_path, resolution, TINY), UNetRun)
    assert run.data.resolution == resolution
    assert read_weight_file(tmp_path / UNET).keys() == {"global_step", "state_dict"}
    assert load_unet(run.model, tmp_path / UNET).unet_config.use_motion_module
    assert load_whisper_encoder(tmp_path / WHISPER_TINY).width == run.model.cross_attention_dim
    assert load_vae(tmp_path / "vae").latent_channels == 4
