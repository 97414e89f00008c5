"""The files in configs/ describe networks with exactly the published parameter names, shapes and counts."""

from pathlib import Path

import pytest
import torch

from latentsync.config import load_config
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from tests.unit.models.golden_shapes import golden_shapes, num_entries, state_shapes


@pytest.mark.parametrize(
    ("name", "millions", "golden", "resolution"),
    [
        ("stage1", 850.0, "stage1", 256),
        ("stage1_512", 850.0, "stage1", 512),
        ("stage2", 1267.9, "stage2", 256),
        ("stage2_512", 1267.9, "stage2", 512),
        ("stage2_efficient", 1100.8, None, 256),
    ],
)
def test_unet_configurations(repository: Path, golden_dir: Path, name, millions, golden, resolution):
    run = load_config(repository / "configs" / "unet" / f"{name}.yaml", UNetRun)
    with torch.device("meta"):
        shapes = state_shapes(UNet3DConditionModel.from_unet_config(run.model))
    assert round(num_entries(shapes) / 1e6, 1) == millions
    assert run.data.resolution == resolution
    if golden:
        assert shapes == golden_shapes(golden_dir, "unet_state_shapes")[golden]
    else:
        assert not any(name.startswith("down_blocks") and ".motion_modules." in name for name in shapes)


@pytest.mark.parametrize(
    ("name", "millions", "width"),
    [
        ("syncnet_16_pixel_attn", 401.3, 2048),
        ("syncnet_16_pixel", 371.8, 2048),
        ("syncnet_16_latent", 65.5, 1024),
        ("syncnet_25_pixel", 103.7, 1024),
    ],
)
def test_syncnet_configurations(repository: Path, golden_dir: Path, name, millions, width):
    file = load_config(repository / "configs" / "syncnet" / f"{name}.yaml", SyncNetRun)
    data = file.data
    height = data.resolution // (2 if data.lower_half else 1)
    input_shape = (file.model.visual_encoder.in_channels, height, data.resolution)
    if data.latent_space:
        input_shape = (4 * data.num_frames, data.resolution // 8, data.resolution // 8)
    with torch.device("meta"):
        syncnet = StableSyncNet(file.model)
        video, audio = syncnet(torch.zeros(1, *input_shape), torch.zeros(1, 1, 80, data.num_mel_columns))
    shapes = state_shapes(syncnet)
    assert round(num_entries(shapes) / 1e6, 1) == millions
    assert video.shape == audio.shape == (1, width)
    published = golden_shapes(golden_dir, "syncnet_state_shapes")
    assert shapes == published.get(name, shapes)
