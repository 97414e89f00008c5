"""Choose what reads the mouths of footage and of generated crops: a network, or the landmarks of real faces."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.adaptation.mouth_matching import Mouths
from latentsync.errors import CheckpointError
from latentsync.face.landmarks68 import load_landmark_networks, missing_weights
from latentsync.judges.landmark_mouth import LandmarkMouthReader
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.recipes.adaptation_run import LANDMARKS
from latentsync.weights import AUXILIARY, locate

ReadMouths = Callable[[NDArray[np.uint8]], Mouths]
"""Returns opening and width (f, 2) of aligned crops (f, R, R, 3)."""

DEMO_READER = "checkpoints/demo/mouth_reader.pt"


def build_mouth_reader(name: str, device: torch.device) -> ReadMouths:
    """Load the reader that `adaptation.mouth_reader` names.

    Raises:
        CheckpointError: its weights are missing or damaged.
    """
    if name == LANDMARKS:
        return LandmarkMouthReader(load_landmark_networks(device, AUXILIARY))
    return partial(read_mouth, load_mouth_reader(locate(name), device))


def check_mouth_reader(name: str) -> None:
    """Raise CheckpointError if weights of a reader are missing."""
    if name != LANDMARKS:
        locate(name)
    elif missing := missing_weights(AUXILIARY):
        files = " and ".join(str(AUXILIARY / file) for file in missing)
        raise CheckpointError(
            f"{files} are missing for adaptation.mouth_reader=landmarks ({DEMO_READER} is another choice, but trained "
            "on synthetic people): run python -m scripts.download_weights"
        )
