"""Root configuration of the lip-sync U-Net: what ``configs/unet/*.yaml`` and ``configs/demo/unet.yaml`` may say."""

from dataclasses import dataclass, field

from latentsync.models.unet_config import UNetConfig


@dataclass
class DataConfig:
    """Shape of the clips the U-Net sees.

    Attributes:
        resolution: side of the aligned face crop, in pixels.
        num_frames: frames of one window.
        video_fps: frames per second the model was trained at.
        audio_sample_rate: samples per second the audio encoder hears.
    """

    resolution: int = 256
    num_frames: int = 16
    video_fps: int = 25
    audio_sample_rate: int = 16000


@dataclass
class SamplingConfig:
    """Defaults of the denoising loop; the command line overrides them."""

    inference_steps: int = 20
    guidance_scale: float = 1.5


@dataclass
class AudioConfig:
    """The Whisper checkpoint whose encoder hears the speech; relative to the repository."""

    whisper: str = "checkpoints/whisper/tiny.pt"


@dataclass
class UNetRun:
    """Everything one U-Net configuration says.

    Attributes:
        vae: folder of a diffusers AutoencoderKL, relative to the repository, or its name on the hub.
    """

    model: UNetConfig = field(default_factory=UNetConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: SamplingConfig = field(default_factory=SamplingConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    vae: str = "stabilityai/sd-vae-ft-mse"
