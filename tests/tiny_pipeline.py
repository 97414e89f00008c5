"""A lip-sync pipeline of tiny random networks and a detector with a fixed result."""

from collections.abc import Callable, Sequence

import numpy as np

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.face.detection import Detection
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from tests.golden_values import fill_deterministic
from tests.tiny_networks import tiny_unet, tiny_vae

RESOLUTION = 64
ANCHORS = np.array([[40.0, 30], [80, 30], [60, 52]], dtype=np.float32)


class ToldDetector:
    """Detector that returns one face at a fixed place in every frame for which ``has_face`` is true."""

    def __init__(self, has_face: Callable[[np.ndarray], bool]) -> None:
        self.has_face = has_face
        self.largest_batch = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        self.largest_batch = max(self.largest_batch, len(frames))
        face = Detection(box=np.array([20, 10, 100, 110], dtype=np.float32), score=0.99, anchors=ANCHORS)
        return [[face] if self.has_face(frame) else [] for frame in frames]


def tiny_pipeline(has_face: Callable[[np.ndarray], bool] = lambda frame: True) -> LipsyncPipeline:
    """Build networks with deterministic weights, so that equal calls give equal files."""
    encoder = fill_deterministic(WhisperEncoder(encoder_dimensions(16, 1, 2)).eval())
    detector = ToldDetector(has_face)
    return LipsyncPipeline(
        unet=tiny_unet().eval(),
        codec=LatentCodec(tiny_vae(num_levels=4)),
        audio_encoder=encoder.requires_grad_(False),
        detector=detector,
        resolution=RESOLUTION,
        exact_detector=detector,
    )
