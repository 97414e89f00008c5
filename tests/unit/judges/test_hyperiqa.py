import gzip
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.errors import CheckpointError
from latentsync.judges.hyperiqa import (
    PUBLISHED_WEIGHTS,
    HyperIqa,
    QualityScorer,
    load_hyperiqa,
    preprocess_frames,
    scored_frames,
)
from latentsync.weights import locate
from tests.golden_values import det, fill_deterministic


@pytest.fixture(scope="module")
def network() -> HyperIqa:
    network = HyperIqa().eval().requires_grad_(False)
    fill_deterministic(network)
    return network


def test_golden_value(golden_dir, network):
    golden = np.load(golden_dir / "hyperiqa.npz")["score"]
    images = det("hi/x", (3, 3, 224, 224))
    scores = network(images[:2])
    assert scores.shape == (2,)
    np.testing.assert_allclose(scores[:1].numpy(), golden, rtol=1e-5)
    assert abs(scores[1] - scores[0]) > 0.01
    torch.testing.assert_close(network(images[1:2]), scores[1:], rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_the_published_ones(golden_dir):
    golden = json.loads(gzip.decompress((golden_dir / "hyperiqa_state_shapes.json.gz").read_bytes()))
    with torch.device("meta"):
        network = HyperIqa()
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == golden


def test_loads_the_published_format(tmp_path: Path, network):
    torch.save(network.state_dict(), tmp_path / "koniq.pkl", _use_new_zipfile_serialization=False)
    loaded = load_hyperiqa(tmp_path / "koniq.pkl")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_another_network_is_a_clear_error(tmp_path: Path):
    torch.save({"res.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "koniq.pkl")
    with pytest.raises(CheckpointError, match=r"koniq.pkl does not fit the network, it lacks"):
        load_hyperiqa(tmp_path / "koniq.pkl")


def test_the_published_file_is_asked_for_with_its_remedy(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"koniq_pretrained.pkl is missing: .*download_weights --training"):
        locate(PUBLISHED_WEIGHTS, tmp_path)


MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


class FirstPixel(nn.Module):
    """Its score is the red value of the first pixel, in 0...255."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(255.0))

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, 224, 224)
        return self.scale * (images[:, 0, 0, 0] * STD[0] + MEAN[0])


def test_first_middle_and_last_frame_have_equal_weight():
    frames = np.zeros((9, 256, 256, 3), np.uint8)
    frames[:, 16, 16, 0] = [10, 255, 255, 255, 40, 255, 255, 255, 100]
    assert QualityScorer(FirstPixel()).score(frames) == pytest.approx(50, abs=1e-3)


@pytest.mark.parametrize(("num_frames", "expected"), [(1, (0, 0, 0)), (2, (0, 1, 1)), (250, (0, 125, 249))])
def test_scored_frames(num_frames: int, expected: tuple[int, int, int]):
    assert scored_frames(num_frames) == expected


def test_no_frame_is_an_error():
    with pytest.raises(ValueError, match="at least one frame"):
        QualityScorer(FirstPixel()).score(np.zeros((0, 256, 256, 3), np.uint8))


def test_inputs_are_the_normalized_centre():
    frame = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    expected = (frame[16:240, 16:240] / 255 - MEAN) / STD
    found = preprocess_frames(torch.from_numpy(frame[None]))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (128, 128), (512, 768)])
def test_other_sizes_are_resized_to_256_first(height: int, width: int):
    noise = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    frame = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    interpolation = cv2.INTER_AREA if height > 256 else cv2.INTER_LINEAR
    small = cv2.resize(frame, (256 * width // height, 256), interpolation=interpolation).astype(np.float64)
    left = (small.shape[1] - 224) // 2
    expected = (small[16:240, left : left + 224] / 255 - MEAN) / STD
    found = preprocess_frames(torch.from_numpy(frame[None]))[0].permute(1, 2, 0).numpy()
    assert found.shape == (224, 224, 3)
    assert np.abs(found - expected).mean() < 0.02 * expected.std()
