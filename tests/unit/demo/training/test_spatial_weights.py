from pathlib import Path

import pytest
import torch

from demo.training.spatial_weights import write_spatial_weights
from latentsync.config import load_config
from latentsync.errors import CheckpointError
from latentsync.models.checkpoint import load_unet
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import CHECKPOINTS, DEMO_UNET, REPOSITORY_ROOT


def test_what_is_left_is_the_network_of_stage_1(tmp_path: Path):
    assert write_spatial_weights(CHECKPOINTS / DEMO_UNET, tmp_path / "spatial.pt") > 0
    run = load_config(REPOSITORY_ROOT / "configs/demo/unet_stage1.yaml", UNetRun)
    loaded = load_unet(run.model, tmp_path / "spatial.pt", dtype=torch.float32).state_dict()
    whole = torch.load(CHECKPOINTS / DEMO_UNET, weights_only=True)["state_dict"]
    assert all(torch.equal(value, whole[name].float()) for name, value in loaded.items())


def test_nothing_is_written_of_a_file_that_is_no_checkpoint(tmp_path: Path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        write_spatial_weights(tmp_path / "empty.pt", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
