"""A training by LoRA: interrupted and resumed it gives the same file, and its checkpoints hold what trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentsync.data.batching import ItemKey, collate, item_generator, item_seed
from latentsync.device import DTYPES
from latentsync.losses.build import build_losses
from latentsync.losses.loss_config import LossesConfig
from latentsync.models.checkpoint import load_unet, save_checkpoint
from latentsync.models.lora import LoraConfig, LoraUNet
from latentsync.models.vae import LatentCodec
from latentsync.training.lora_step import LoraStep
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import OptimizerConfig, TrainerConfig
from latentsync.training.unet_step import DiffusionConfig
from tests.tiny_networks import tiny_unet, tiny_vae

FRAMES, SIDE = 4, 8
LORA = LoraConfig(2)
CPU = torch.device("cpu")


class Windows:
    """Six windows of cached latents."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        draw = item_generator(3, key).standard_normal
        names = ("latents", "masked_latents", "reference_latents")
        item: dict[str, Any] = {name: draw((FRAMES, 4, SIDE, SIDE)).astype("float32") for name in names}
        item["audio"] = draw((FRAMES, 5, 16)).astype("float32")
        return item | {"seed": item_seed(3, key), "clip": f"clip_{key.index}.mp4"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "base.pt", tiny_unet().state_dict(), 0)
    return tmp_path / "base.pt"


def train(base: Path, folder: Path, max_steps: int, dtype: torch.dtype = torch.float32) -> Path:
    """Train to `max_steps` and return the exported file."""
    codec = LatentCodec(tiny_vae())
    losses = build_losses(LossesConfig(), codec, CPU, torch.float32, 4 * SIDE, FRAMES)
    torch.manual_seed(0)
    network = LoraUNet(load_unet(tiny_unet().unet_config, base), LORA, dtype)
    step = LoraStep(network, LORA, base, codec, losses, DiffusionConfig(), 4 * SIDE, checkpoint_decode=True)
    config = TrainerConfig(
        run_dir=str(folder), max_steps=max_steps, batch_size=2, mixed_precision="no", gradient_checkpointing=True,
        num_workers=0, validate_every=0, save_every=2, log_every=1, ema_decay=0.9, device="cpu",
        optimizer=OptimizerConfig(lr=0.01),
    )  # fmt: skip
    Trainer(config, step, Windows(), collate).fit()
    return folder / step.export_name


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.long), "bfloat16"])
def test_resumed_it_gives_the_same_file(base: Path, dtype: str):
    whole = train(base, base.parent / "whole", 4, DTYPES[dtype])
    first = load_file(train(base, base.parent / "halves", 2, DTYPES[dtype]))
    resumed = train(base, base.parent / "halves", 4, DTYPES[dtype])
    expected, found = load_file(whole), load_file(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert any(not torch.equal(found[name], tensor) for name, tensor in first.items())
    assert any(tensor.any() for name, tensor in found.items() if name.endswith("lora_B"))
    merged = load_unet(tiny_unet().unet_config, resumed)
    weight = "mid_block.resnets.0.conv1.weight"
    assert not torch.equal(merged.state_dict()[weight], tiny_unet().state_dict()[weight])


def test_checkpoints_and_the_average_hold_what_trains(base: Path):
    train(base, base.parent / "run", 2)
    folder = base.parent / "run" / "checkpoints" / "step_00000002"
    saved = load_file(folder / "model.safetensors")
    assert {name.rpartition(".")[2] for name in saved} == {"lora_A", "lora_B"}
    averages = torch.load(folder / "average_0.pt", weights_only=True)["averages"]
    assert len(averages) == len(saved)
