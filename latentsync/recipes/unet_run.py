"""Root configuration of the lip-sync U-Net (``configs/unet/*.yaml``, ``configs/demo/unet*.yaml``)."""

from dataclasses import dataclass, field

from latentsync.data.unet_dataset import UNetDataConfig
from latentsync.losses.loss_config import LossesConfig
from latentsync.models.unet_config import UNetConfig
from latentsync.pipelines.presets import PRESETS
from latentsync.training.distillation import DistillationConfig
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.unet_step import DiffusionConfig

SYNC_SCORERS = ("none", "stable_syncnet", "syncnet_v2")


@dataclass
class SamplingConfig:
    """Defaults of inference; the command line overrides them.

    Attributes:
        inference_steps, guidance_scale: also of the validation videos of a training.
        preset: default of `--preset`, which replaces the number of steps; see `latentsync.pipelines.presets`.
    """

    inference_steps: int = 20
    guidance_scale: float = 1.5
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"run.preset: use {', '.join(PRESETS)}, not {self.preset!r}")


@dataclass
class AudioConfig:
    """Whisper checkpoint that computes the audio features; relative to the repository."""

    whisper: str = "checkpoints/whisper/tiny.pt"


@dataclass
class UNetValidationConfig:
    """Validation of a U-Net on held-out clips.

    Attributes:
        num_windows: windows for the validation loss, the same ones each time.
        num_videos: clips that are lip-synced to the speech of the next one, written as videos and scored.
        num_frames: frames of each video.
        scorer: sync scorer of the videos: none, stable_syncnet or syncnet_v2.
        syncnet: configuration of the StableSyncNet for stable_syncnet, relative to the repository.
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
    """Everything that the configuration of a U-Net sets.

    Attributes:
        model: the network.
        data: clips and windows.
        run: sampling defaults.
        audio: the audio encoder.
        vae: folder of a diffusers AutoencoderKL, relative to the repository, or its name on the hub.
        initial: weights that the training starts from (ours, published ones, or a Stable Diffusion 1.5 U-Net as
            .safetensors); relative to the working folder or the repository; None: random weights.
        trainable: substrings of the names of parameters to train; empty: all parameters.
        diffusion: forward diffusion of training windows.
        distillation: few-step distillation of `initial` instead of noise prediction; None: none.
        export_changes: export only the trained weights, as changes of `initial`, which is then needed to load them.
        losses: weighted loss terms.
        training: the training loop.
        validation: validation on held-out clips.
    """

    model: UNetConfig = field(default_factory=UNetConfig)
    data: UNetDataConfig = field(default_factory=UNetDataConfig)
    run: SamplingConfig = field(default_factory=SamplingConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    vae: str = "stabilityai/sd-vae-ft-mse"
    initial: str | None = None
    trainable: list[str] = field(default_factory=list)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    distillation: DistillationConfig | None = None
    export_changes: bool = False
    losses: LossesConfig = field(default_factory=LossesConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    validation: UNetValidationConfig = field(default_factory=UNetValidationConfig)

    def __post_init__(self) -> None:
        if self.initial is None and (self.distillation is not None or self.export_changes):
            raise ValueError("initial: distillation and export_changes require initial weights")
