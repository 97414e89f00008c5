"""Input window of a SyncNet, and the one reader of the YAML that describes a SyncNet and its input."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentsync.config import read_yaml
from latentsync.errors import ConfigError, first_line
from latentsync.models.stable_syncnet import SyncNetConfig


@dataclass
class SyncNetInput:
    """What a SyncNet takes: keys of the `data:` section of its configuration.

    Attributes:
        resolution: side of the aligned crop in pixels; crops of another size are resized.
        num_frames: frames per window.
        video_fps: frames per second.
        num_mel_columns: mel columns per window (80 per second).
        latent_space: True if the network takes VAE latents instead of pixels.
        lower_half: True if the network takes the lower half of the crop (pixels only).
    """

    resolution: int = 256
    num_frames: int = 16
    video_fps: int = 25
    num_mel_columns: int = 52
    latent_space: bool = False
    lower_half: bool = True

    def __post_init__(self) -> None:
        for name in ("resolution", "num_frames", "video_fps", "num_mel_columns"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at least 1")


def read_syncnet_config(path: Path) -> tuple[SyncNetConfig, SyncNetInput]:
    """Read the network and its input from a SyncNet's YAML; settings of its training are ignored.

    Args:
        path: YAML that the SyncNet was trained with, such as configs/demo/syncnet.yaml, or a published one.

    Raises:
        ConfigError: the file is missing, or a value does not fit.
    """
    content = read_yaml(path)
    data = content.get("data") or OmegaConf.create({})
    names = {field.name for field in fields(SyncNetInput)}
    known = {str(key): value for key, value in data.items() if key in names} if isinstance(data, DictConfig) else {}
    try:
        model = OmegaConf.merge(OmegaConf.structured(SyncNetConfig), content.get("model") or {})
        syncnet_input = OmegaConf.merge(OmegaConf.structured(SyncNetInput), known)
        return cast(SyncNetConfig, OmegaConf.to_object(model)), cast(SyncNetInput, OmegaConf.to_object(syncnet_input))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {first_line(error)}") from error
