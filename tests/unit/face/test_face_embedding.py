"""The face embedding as a descriptor of people: choice, one vector per face, damaged weights."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from latentsync.errors import CheckpointError
from latentsync.face.appearance import ColourHistograms
from latentsync.face.describer import DescriberChoice
from latentsync.face.face_embedding import FaceEmbedding, embedding_input
from tests.unit.face.faces import detection


class MeanColour(nn.Module):
    """Embedding (n, 3) of length 1: the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(images.shape))
        return nn.functional.normalize(images.mean((2, 3)))


def test_each_clear_face_inside_the_frame_has_a_vector():
    frame = np.zeros((400, 800, 3), np.uint8)
    frame[100:200, 100:200, 0] = 255
    frame[100:200, 500:600, 1] = 255
    network = MeanColour()
    faces = [detection(150, 150), detection(550, 150), detection(790, 330), detection(795, 325)]
    red, green, *concealed = FaceEmbedding(network).describe(frame, faces)
    assert concealed == [None, None]
    assert network.sizes == [(1, 3, 160, 160)] * 2
    assert red is not None
    assert green is not None
    assert red.dtype == np.float32
    assert np.linalg.norm(red) == pytest.approx(FaceEmbedding.same)  # an embedding distance of 1 is the limit
    assert np.linalg.norm(red - green) > FaceEmbedding.same
    assert FaceEmbedding(network).describe(frame, [detection(795, 150)]) == [None]


def test_the_input_is_standardized():
    image = embedding_input(np.full((1, 40, 60, 3), 255, np.uint8), "cpu")
    assert image.shape == (1, 3, 160, 160)
    np.testing.assert_allclose(image, 127.5 / 128)


def test_without_weights_people_are_described_by_colour_histograms(tmp_path: Path):
    choice = DescriberChoice(tmp_path / "checkpoints" / "auxiliary" / "embedding.pt")
    assert isinstance(choice.build(), ColourHistograms)
    assert choice.line() == (
        "people are recognized by colour histograms (face embedding: checkpoints/auxiliary/embedding.pt is missing)"
    )


def test_with_weights_people_are_described_by_the_embedding_in_every_process(embedding_weights: Path):
    choice = DescriberChoice(embedding_weights)
    assert choice.line() == "people are recognized by a face embedding"
    describer = choice.build()
    assert isinstance(describer, FaceEmbedding)
    assert pickle.loads(pickle.dumps(choice)).build() is describer  # a network is loaded once
    frame = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    (look,) = describer.describe(frame, [detection(150, 150)])
    assert look is not None
    assert look.shape == (512,)
    assert np.linalg.norm(look) == pytest.approx(FaceEmbedding.same)


def test_damaged_weights_are_one_line(embedding_weights: Path, tmp_path: Path):
    damaged = tmp_path / "embedding.pt"
    damaged.write_bytes(embedding_weights.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"embedding.pt is truncated or damaged"):
        DescriberChoice(damaged).build()
