"""Choose the descriptor of people: a face embedding if its weights are here, else colour histograms."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from latentsync.face.appearance import AppearanceDescriber, ColourHistograms
from latentsync.face.face_embedding import EMBEDDING_WEIGHTS, FaceEmbedding, load_embedding
from latentsync.weights import has_content


@dataclass(frozen=True)
class DescriberChoice:
    """A descriptor of people that each process builds for itself; picklable.

    Attributes:
        weights: file of the face embedding; without it, people are described by colour histograms.
        device: device of the embedding.
    """

    weights: Path = EMBEDDING_WEIGHTS
    device: str = "cpu"

    @property
    def has_weights(self) -> bool:
        """True if the face embedding is used."""
        return has_content(self.weights)

    def build(self) -> AppearanceDescriber:
        """Return the descriptor; a network is loaded once per process.

        Raises:
            CheckpointError: the weights are damaged or of another network.
        """
        return _embedding(self.weights, self.device) if self.has_weights else ColourHistograms()

    def line(self) -> str:
        """Return a line for reports that states how people are recognized."""
        if self.has_weights:
            return f"people are recognized by {FaceEmbedding.name}"
        missing = "/".join(self.weights.parts[-3:])
        return f"people are recognized by {ColourHistograms.name} (face embedding: {missing} is missing)"


@lru_cache(maxsize=1)
def _embedding(weights: Path, device: str) -> FaceEmbedding:
    return FaceEmbedding(load_embedding(weights, torch.device(device)), device)
