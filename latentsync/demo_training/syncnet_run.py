"""Root configuration of a SyncNet: what `configs/demo/syncnet.yaml` and `configs/syncnet/*.yaml` may say."""

from dataclasses import dataclass, field

from latentsync.models.stable_syncnet import SyncNetConfig


@dataclass
class SyncNetDataConfig:
    """What the SyncNet looks at.

    Attributes:
        resolution: side of the aligned crop, whose lower half is seen, in pixels.
        num_frames: frames of one window.
        video_fps: frames per second.
        audio_sample_rate: samples per second the mel is made of.
        num_mel_columns: mel columns of one window.
        latent_space: whether latents are seen instead of pixels.
        lower_half: whether only the lower half of the crop is seen.
    """

    resolution: int = 256
    num_frames: int = 16
    video_fps: int = 25
    audio_sample_rate: int = 16000
    num_mel_columns: int = 52
    latent_space: bool = False
    lower_half: bool = True


@dataclass
class SyncNetRun:
    """Everything one SyncNet configuration says."""

    model: SyncNetConfig = field(default_factory=SyncNetConfig)
    data: SyncNetDataConfig = field(default_factory=SyncNetDataConfig)
