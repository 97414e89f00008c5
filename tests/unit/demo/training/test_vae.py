"""Images and crops of the VAE's training; the whole VAE and its decoder alone train, and the export loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.synthetic.clip_set import find_clips
from demo.training.vae import VAE, VaeRun, small_crops
from demo.training.vae_images import VaeImages, random_texture
from latentsync.data.batching import ItemKey
from latentsync.models.vae import load_vae
from latentsync.training.trainer import TrainReport
from tests.unit.demo.training.small_training import small_run
from tests.unit.eval.demo_weights.clips import SIZE

DECODER = ["decoder.", "post_quant_conv."]


def fit(clips: Path, run_dir: Path, max_steps: int, **options: object) -> TrainReport:
    settings = {"log_every": 1, "save_every": 1, "validate_every": max_steps, "keep_last": 1, "ema_decay": 0.5}
    run = VaeRun(**small_run(clips, run_dir, max_steps, 2, matrix_lr=8e-3, **settings), **options)  # type: ignore[arg-type]
    return VAE.build_trainer(run, {"seed": 0}).fit()


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory) -> tuple[Path, TrainReport]:
    """A run of three steps: two on small crops, one on whole images; every step is saved."""
    run_dir = tmp_path_factory.mktemp("vae run")
    return run_dir, fit(clips, run_dir, 3, small_crops_until=0.5)


def textures(num: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    images = np.stack([random_texture(rng, SIZE) for _ in range(num)])
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1


def test_an_item_is_a_function_of_its_key(clips):
    images = VaeImages(find_clips(clips), seed=5)
    items = [images[ItemKey(1, epoch)] for epoch in range(12)]
    assert np.array_equal(images[ItemKey(1, 4)]["image"], items[4]["image"])
    assert len({item["seed"] for item in items}) == 12
    stack = np.stack([item["image"] for item in items])
    assert stack.shape == (12, 3, SIZE, SIZE)
    assert stack.dtype == np.float32
    assert np.abs(stack).max() <= 1
    assert len(np.unique(stack.mean(axis=(1, 2, 3)))) > 6


def test_small_crops_keep_each_pixel_with_its_weight():
    weight = torch.arange(2 * 16 * 16.0).reshape(2, 1, 16, 16)
    images = weight.expand(-1, 3, -1, -1)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    crops, weights = small_crops(images, weight, generators)
    assert crops.shape == (6, 3, 8, 8)
    assert torch.equal(crops, weights.expand(-1, 3, -1, -1))
    assert bool((weights[:3] < 256).all() and (weights[3:] >= 256).all())
    alone, _ = small_crops(images[1:], weight[1:], [torch.Generator().manual_seed(2)])
    assert torch.equal(alone, crops[3:])


def test_the_export_is_a_folder_that_loads(trained):
    run_dir, report = trained
    assert sorted(path.name for path in (run_dir / "vae").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    assert {path.name for path in run_dir.glob(".*")} == {".latentsync.json", ".latentsync.lock"}
    assert report.checkpoint is not None
    for file in (run_dir / "vae").iterdir():
        assert file.read_bytes() == (report.checkpoint / "vae" / file.name).read_bytes()
    latents = load_vae(run_dir / "vae").encode(textures(8))
    assert latents.shape == (8, 8, SIZE // 8, SIZE // 8)
    assert 0.2 < float(latents.std()) < 5
    config = json.loads((run_dir / "vae" / "config.json").read_text())
    shipped = json.loads((Path(__file__).parents[4] / "checkpoints/demo/vae/config.json").read_text())
    assert config.keys() == shipped.keys()
    differing = {name for name in config if config[name] != shipped[name]} - {"scaling_factor", "_diffusers_version"}
    assert not differing


def test_what_is_logged(trained):
    run_dir, report = trained
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "psnr_db", "kl"} <= rows[0].keys()
    assert report.validation["num_pictures"] == 2
    assert report.validation["psnr_db"] > 3


def test_decoder_training_leaves_the_latents_alone(clips, trained, tmp_path):
    before = load_vae(trained[0] / "vae")
    images = textures(2)
    options = {"initial": str(trained[0] / "vae"), "trainable": DECODER, "small_crops_until": 0.0, "kl_weight": 0.0}
    fit(clips, tmp_path / "run", 1, **options)
    after = load_vae(tmp_path / "run" / "vae")
    latents = before.encode(images)
    assert torch.equal(after.encode(images), latents)
    assert not torch.allclose(after.decode(latents), before.decode(latents))
    assert "_name_or_path" not in json.loads((tmp_path / "run" / "vae" / "config.json").read_text())


def test_the_empty_network_knows_what_trains():
    network = VAE.build_meta_model(VaeRun(trainable=DECODER))
    trained_names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained_names
    assert all(name.startswith(("vae.decoder.", "vae.post_quant_conv.")) for name in trained_names)
