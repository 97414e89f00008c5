"""Root configuration of the lip-sync U-Net: what ``configs/unet/*.yaml`` and ``configs/demo/unet*.yaml`` may say."""

from dataclasses import dataclass, field

from latentsync.data.unet_dataset import UNetDataConfig
from latentsync.losses.loss_config import LossesConfig
from latentsync.models.unet_config import UNetConfig
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.unet_step import DiffusionConfig

SYNC_SCORERS = ("none", "stable_syncnet", "syncnet_v2")


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
class UNetValidationConfig:
    """What is looked at on held-out clips.

    Attributes:
        num_windows: windows whose loss is taken, the same ones each time.
        num_videos: clips that are repainted to the speech of the next one, written as videos and scored.
        num_frames: frames of each video.
        scorer: who scores their sync: none, stable_syncnet or syncnet_v2.
        syncnet: configuration of the StableSyncNet that scores.
        syncnet_checkpoint: its weights.
    """

    num_windows: int = 16
    num_videos: int = 1
    num_frames: int = 48
    scorer: str = "none"
    syncnet: str = "configs/syncnet/syncnet_16_pixel_attn.yaml"
    syncnet_checkpoint: str = "checkpoints/stable_syncnet.pt"

    def __post_init__(self) -> None:
        if self.scorer not in SYNC_SCORERS:
            raise ValueError(f"validation.scorer: use {', '.join(SYNC_SCORERS)}, not {self.scorer!r}")
        if min(self.num_windows, self.num_videos) < 0 or self.num_frames < 1:
            raise ValueError("validation: num_windows and num_videos are 0 or more, num_frames 1 or more")


@dataclass
class UNetRun:
    """Everything one U-Net configuration says.

    Attributes:
        model: the network.
        data: the clips and their windows.
        run: sampling defaults.
        audio: who hears the speech.
        vae: folder of a diffusers AutoencoderKL, relative to the repository, or its name on the hub.
        initial: weights the training starts from (ours, published ones, or a Stable Diffusion 1.5 U-Net as
            .safetensors); relative to the working folder or the repository; None starts from nothing.
        trainable: parts of the names of the weights that train; empty is all.
        diffusion: how training windows are disturbed.
        losses: the weighted terms.
        training: the loop.
        validation: what is looked at on held-out clips.
    """

    model: UNetConfig = field(default_factory=UNetConfig)
    data: UNetDataConfig = field(default_factory=UNetDataConfig)
    run: SamplingConfig = field(default_factory=SamplingConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    vae: str = "stabilityai/sd-vae-ft-mse"
    initial: str | None = None
    trainable: list[str] = field(default_factory=list)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    losses: LossesConfig = field(default_factory=LossesConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    validation: UNetValidationConfig = field(default_factory=UNetValidationConfig)
