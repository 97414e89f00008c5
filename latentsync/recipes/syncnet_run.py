"""Root configuration of a SyncNet: what ``configs/demo/syncnet.yaml`` and ``configs/syncnet/*.yaml`` may say."""

from dataclasses import dataclass, field

from latentsync.data.syncnet_dataset import SyncNetDataConfig
from latentsync.models.stable_syncnet import SyncNetConfig
from latentsync.training.syncnet_step import PairsConfig
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.watchdog import WatchdogConfig


@dataclass
class SyncNetValidationConfig:
    """What is looked at on held-out clips.

    Attributes:
        num_clips: the first so many of `data.validation_clips`; 0 is all.
        windows_per_clip: pictures per clip, evenly spread; each meets the sound of all windows of its clip.
    """

    num_clips: int = 0
    windows_per_clip: int = 8

    def __post_init__(self) -> None:
        if self.num_clips < 0 or self.windows_per_clip < 1:
            raise ValueError("validation.num_clips is 0 (all) or more, validation.windows_per_clip 1 or more")


@dataclass
class SyncNetRun:
    """Everything one SyncNet configuration says.

    Attributes:
        model: the network.
        data: the clips and their windows.
        vae: for a SyncNet on latents: folder of a diffusers AutoencoderKL, relative to the repository, or its name on
            the hub.
        initial: weights the training starts from, in the working folder or the repository; None starts from nothing.
        pairs: which pictures and sounds are compared.
        training: the loop.
        validation: what is looked at on held-out clips.
        watchdog: when a loss counts as stuck.
    """

    model: SyncNetConfig = field(default_factory=SyncNetConfig)
    data: SyncNetDataConfig = field(default_factory=SyncNetDataConfig)
    vae: str = "stabilityai/sd-vae-ft-mse"
    initial: str | None = None
    pairs: PairsConfig = field(default_factory=PairsConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    validation: SyncNetValidationConfig = field(default_factory=SyncNetValidationConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
