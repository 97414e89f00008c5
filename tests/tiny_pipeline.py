"""A lip-sync pipeline of tiny random networks and a detector with a fixed result."""

from collections.abc import Callable, Sequence

import numpy as np
from diffusers import AutoencoderKL

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.face.detection import Detection
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from tests.golden_values import fill_deterministic

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
    config = UNetConfig(
        cross_attention_dim=16,
        block_out_channels=[16, 32],
        attention_head_dim=2,
        norm_num_groups=4,
        layers_per_block=1,
        use_motion_module=True,
    )
    unet = fill_deterministic(UNet3DConditionModel.from_unet_config(config))
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    encoder = fill_deterministic(WhisperEncoder(encoder_dimensions(16, 1, 2)).eval())
    detector = ToldDetector(has_face)
    return LipsyncPipeline(
        unet=unet.eval(),
        codec=LatentCodec(fill_deterministic(vae).eval().requires_grad_(False)),
        audio_encoder=encoder.requires_grad_(False),
        detector=detector,
        resolution=RESOLUTION,
        exact_detector=detector,
    )
