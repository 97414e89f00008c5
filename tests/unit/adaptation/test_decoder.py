"""Training of the VAE's decoder on one person's frames."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.adaptation.decoder import Decoder, DecoderDataset, DecoderStep, decoded_quality
from latentsync.data.batching import ItemKey, collate
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint
from latentsync.data.prepare_features import prepare_features
from latentsync.errors import CheckpointError
from latentsync.models.vae import DECODER_WEIGHTS, LatentCodec, load_vae
from latentsync.storage.content_cache import ArrayCache, content_key
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import OptimizerConfig, TrainerConfig
from tests.tiny_networks import tiny_vae
from tests.unit.data.clips import make_clip


@pytest.fixture
def clip(tmp_path: Path) -> TrainingClip:
    path = make_clip(tmp_path / "clip.mp4", 8)
    return TrainingClip(path, 8, content_key(path))


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tiny_vae(latent_channels=2).save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def prepared(clip: TrainingClip, codec: LatentCodec, folder: Path) -> DecoderDataset:
    features = ClipFeatures(ArrayCache(folder / "cache"), 64, codec_key=codec_fingerprint(codec))
    prepare_features([clip], features, codec=codec, num_variants=1)
    return DecoderDataset([clip], features, 1, seed=3)


def test_images_belong_to_their_latents(clip: TrainingClip, vae: Path, tmp_path: Path) -> None:
    codec = load_vae(vae)
    data = prepared(clip, codec, tmp_path)
    for epoch in range(6):
        item = data[ItemKey(0, epoch)]
        expected = codec.encode(torch.from_numpy(item["image"]))
        np.testing.assert_allclose(item["latents"], expected.numpy(), atol=5e-3)


def test_training_changes_the_decoder_alone_and_is_loaded(clip: TrainingClip, vae: Path, tmp_path: Path) -> None:
    codec = load_vae(vae)
    data = prepared(clip, codec, tmp_path)
    decoder = Decoder(codec)
    config = TrainerConfig(
        run_dir=str(tmp_path / "run"), max_steps=12, batch_size=2, num_workers=0, validate_every=0, ema_decay=None,
        device="cpu", mixed_precision="no", optimizer=OptimizerConfig(lr=5e-3),
    )  # fmt: skip
    batch = collate([data[ItemKey(0, 0)], data[ItemKey(0, 1)]])
    batch = {name: torch.as_tensor(value) for name, value in batch.items() if name != "clip"}
    losses = [float(DecoderStep(decoder)(decoder, batch, None).loss.detach())]  # type: ignore[arg-type]
    Trainer(config, DecoderStep(decoder), data, collate).fit()
    losses.append(float(DecoderStep(decoder)(decoder, batch, None).loss.detach()))  # type: ignore[arg-type]
    assert losses[1] < 0.9 * losses[0]
    qualities = [decoded_quality(one, clip, data.features) for one in (load_vae(vae), codec)]
    assert qualities[1][0] > qualities[0][0]
    frames = data.features.frames(clip, only_lower_half=False)
    latents = torch.from_numpy(np.array(data.features.latents(clip)[:, 0], dtype=np.float32))
    with torch.no_grad():
        decoded = ((codec.decode(latents).clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    error = np.square(decoded - frames.astype(np.float64)).mean()
    assert qualities[1][0] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    base, adapted = load_vae(vae), load_vae(vae, decoder=tmp_path / "run" / DecoderStep.export_name)
    pairs = zip(base.vae.state_dict().items(), adapted.vae.state_dict().values(), strict=True)
    changed = {name for (name, before), after in pairs if not torch.equal(before, after)}
    assert changed
    assert all(name.startswith(DECODER_WEIGHTS) for name in changed)
    latents = torch.from_numpy(data[ItemKey(0, 0)]["latents"])
    with torch.no_grad():
        torch.testing.assert_close(adapted.decode(latents), decoder(latents), atol=5e-3, rtol=0)


def test_a_decoder_of_another_vae_is_refused(vae: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "other.safetensors"
    DecoderStep(Decoder(LatentCodec(tiny_vae()))).export(
        {f"vae.{name}": value for name, value in tiny_vae().state_dict().items()}, path, 0, {}
    )
    with pytest.raises(CheckpointError, match=r"other\.safetensors .* it belongs to another VAE"):
        load_vae(vae, decoder=path)
