"""A few steps of every demo trainer on tiny fake clips: they run, lower the loss, and store weights that load."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.demo_training import audio_encoder as audio_training
from latentsync.demo_training import loop
from latentsync.demo_training import syncnet as syncnet_training
from latentsync.demo_training import unet as unet_training
from latentsync.demo_training import vae as vae_training
from latentsync.demo_training.audio_encoder import train_audio_encoder
from latentsync.demo_training.clip_set import find_clips
from latentsync.demo_training.loop import TrainOptions
from latentsync.demo_training.mouth_reader import load_mouth_reader, read_mouth, train_mouth_reader
from latentsync.demo_training.syncnet import train_syncnet
from latentsync.demo_training.syncnet_run import SyncNetRun
from latentsync.demo_training.textures import texture_bank
from latentsync.demo_training.unet import train_unet
from latentsync.demo_training.vae import train_vae, train_vae_decoder
from latentsync.errors import InputError
from latentsync.models.checkpoint import load_syncnet, load_unet
from latentsync.models.vae import load_vae
from latentsync.recipes.unet_run import UNetRun

NUM_FRAMES = 60


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Two clips of 2.4 s: flat colours, a dark bar as wide open as the sound is loud."""
    root = tmp_path_factory.mktemp("clips")
    for index in range(2):
        folder = root / f"clip_{index}"
        folder.mkdir()
        rng = np.random.default_rng(index)
        opening = np.clip(0.5 + 0.5 * np.sin(np.arange(4 * NUM_FRAMES) / (5 + index)), 0, 1).astype(np.float32)
        track = np.stack([opening, 1 - opening], axis=1)
        crops = np.full((NUM_FRAMES, 128, 128, 3), rng.integers(60, 200, 3), dtype=np.uint8)
        for frame, share in enumerate(opening[::4]):
            half = int(2 + 10 * share)
            crops[frame, 84 - half : 84 + half, 44:84] = 20
        np.save(folder / "crops.npy", crops)
        np.save(folder / "track.npy", track)
        np.save(folder / "frames_track.npy", track[::4])
        (folder / "meta.json").write_text("{}")
        samples = rng.standard_normal(640 * NUM_FRAMES) * np.repeat(opening, 160) * 4000
        with wave.open(str(folder / "speech.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    return root


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory) -> Path:
    """A folder with an audio encoder and a VAE of a few steps, which the U-Net needs."""
    out = tmp_path_factory.mktemp("weights")
    patch = pytest.MonkeyPatch()
    patch.setattr(vae_training, "_NUM_TEXTURES", 4)
    patch.setattr(audio_training, "_SHORT_BATCH", 4)
    patch.setattr(audio_training, "_FULL_BATCH", 1)
    patch.setattr(loop, "_LOG_SECONDS", -1.0)
    train_audio_encoder(TrainOptions(clips, out, steps=10))
    train_vae(TrainOptions(clips, out, steps=4))
    patch.undo()
    return out


def losses(out: Path, name: str) -> list[float]:
    """The logged losses of a run."""
    return [json.loads(line)["loss"] for line in (out / f"{name}.jsonl").read_text().splitlines()]


def test_audio_encoder_loads_in_the_published_format(trained):
    encoder = load_whisper_encoder(trained / "whisper.pt")
    assert (encoder.width, encoder.num_layers) == (96, 2)
    rows = losses(trained, "audio_encoder")
    assert min(rows[-3:]) < 0.7 * rows[0]


def test_vae_has_latents_of_unit_size(trained):
    codec = load_vae(trained / "vae")
    images = torch.from_numpy(texture_bank(0, 8, 128)).permute(0, 3, 1, 2) / 127.5 - 1
    latents = codec.encode(images)
    assert latents.shape == (8, 8, 16, 16)
    assert 0.2 < float(latents.std()) < 5
    rows = losses(trained, "vae")
    assert rows[-1] < rows[0]


def test_decoder_training_leaves_the_latents_alone(clips, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(vae_training, "_NUM_TEXTURES", 4)
    images = torch.from_numpy(texture_bank(1, 2, 128)).permute(0, 3, 1, 2) / 127.5 - 1
    (tmp_path / "vae").mkdir()
    for file in (trained / "vae").iterdir():
        (tmp_path / "vae" / file.name).write_bytes(file.read_bytes())
    before = load_vae(tmp_path / "vae")
    latents, decoded = before.encode(images), before.decode(before.encode(images))
    train_vae_decoder(TrainOptions(clips, tmp_path, steps=1))
    after = load_vae(tmp_path / "vae")
    torch.testing.assert_close(after.encode(images), latents)
    assert not torch.allclose(after.decode(latents), decoded)


def test_unet_lowers_its_loss_and_loads(clips, trained, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_SECONDS", -1.0)
    monkeypatch.setattr(unet_training, "_SHORT", (2, 4))
    monkeypatch.setattr(unet_training, "_FULL", (1, 16))
    train_unet(TrainOptions(clips, trained, steps=10))
    rows = losses(trained, "unet")
    assert min(rows[-3:]) < 0.98 * rows[0]
    run = load_config(unet_training.CONFIG, UNetRun)
    load_unet(run.model, trained / "latentsync_unet.pt", resolution=128)


def test_syncnet_trains_and_loads(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(syncnet_training, "_BATCH", 4)
    train_syncnet(TrainOptions(clips, tmp_path, steps=4))
    run = load_config(syncnet_training.CONFIG, SyncNetRun)
    load_syncnet(run.model, tmp_path / "stable_syncnet.pt")


def test_mouth_reader_learns_the_bar(clips, tmp_path):
    train_mouth_reader(TrainOptions(clips, tmp_path, steps=40))
    clip = find_clips(clips)[0]
    read = read_mouth(load_mouth_reader(tmp_path / "mouth_reader.pt"), clip.crops)
    assert np.corrcoef(read[:, 0], clip.frames_track[:, 0])[0, 1] > 0.8


def test_equal_steps_and_seed_give_equal_weights(clips, tmp_path):
    for name in ("a", "b"):
        train_mouth_reader(TrainOptions(clips, tmp_path / name, steps=2, seed=3))
    first, second = (load_mouth_reader(tmp_path / name / "mouth_reader.pt").state_dict() for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_no_clips_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no complete clips"):
        find_clips(tmp_path)
