"""Root configuration of a SyncNet (``configs/demo/syncnet.yaml``, ``configs/syncnet/*.yaml``) and its shape checks."""

from dataclasses import dataclass, field

import torch

from latentsync.data.syncnet_dataset import SyncNetDataConfig
from latentsync.errors import ConfigError, first_line
from latentsync.models.stable_syncnet import SyncEncoder, SyncEncoderConfig, SyncNetConfig
from latentsync.models.vae import LatentCodec, VaeShape
from latentsync.training.syncnet_step import PairsConfig, WatchdogConfig
from latentsync.training.trainer_config import TrainerConfig

_RGB_CHANNELS = 3
_NUM_MELS = 80
_MEL_COLUMNS_PER_SECOND = 80
_LATENT_FACTOR = 8


@dataclass
class SyncNetValidationConfig:
    """Validation of a SyncNet on held-out clips.

    Attributes:
        num_clips: number of clips, the first of `data.validation_clips`; 0: all.
        windows_per_clip: video windows per clip, evenly spaced; each is compared with all audio windows of its clip.
    """

    num_clips: int = 0
    windows_per_clip: int = 8

    def __post_init__(self) -> None:
        if self.num_clips < 0 or self.windows_per_clip < 1:
            raise ValueError("validation.num_clips is 0 (all) or more, validation.windows_per_clip 1 or more")


@dataclass
class SyncNetRun:
    """Everything that the configuration of a SyncNet sets.

    Attributes:
        model: the network.
        data: clips and windows.
        vae: for a SyncNet on latents: folder of a diffusers AutoencoderKL, relative to the repository, or its name on
            the hub.
        initial: weights that the training starts from, relative to the working folder or the repository; None: random
            weights.
        pairs: pairs of video and audio windows to compare.
        training: the training loop.
        validation: validation on held-out clips.
        watchdog: warning about a loss that stays at chance.
    """

    model: SyncNetConfig = field(default_factory=SyncNetConfig)
    data: SyncNetDataConfig = field(default_factory=SyncNetDataConfig)
    vae: str = "stabilityai/sd-vae-ft-mse"
    initial: str | None = None
    pairs: PairsConfig = field(default_factory=PairsConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    validation: SyncNetValidationConfig = field(default_factory=SyncNetValidationConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)


def check_syncnet_shapes(run: SyncNetRun, codec: LatentCodec | VaeShape | None = None) -> None:
    """Check on the meta device that one window passes both encoders and that their embeddings have one length.

    Args:
        run: the configuration.
        codec: the VAE of a SyncNet on latents; None: a downsampling factor of 8 is assumed.

    Raises:
        ConfigError: the window does not fit an encoder, or the embeddings differ in length.
    """
    _check_channels(run, None if codec is None else codec.latent_channels)
    _check_mel_columns(run)
    data, model = run.data, run.model
    frames = (model.visual_encoder.in_channels, *_frame_size(run, _LATENT_FACTOR if codec is None else codec.factor))
    mel = (model.audio_encoder.in_channels, _NUM_MELS, data.num_mel_columns)
    lengths = [
        _embedding_length(model.visual_encoder, "visual_encoder", frames, "frames"),
        _embedding_length(model.audio_encoder, "audio_encoder", mel, "a mel"),
    ]
    if lengths[0] != lengths[1]:
        raise ConfigError(
            f"frames {_times(frames)} end in {lengths[0]} numbers and a mel {_times(mel)} in {lengths[1]}: they are "
            "compared, so change the last of block_out_channels, or downsample_factors until both encoders end at 1x1"
        )


def _check_channels(run: SyncNetRun, latent_channels: int | None) -> None:
    num_frames, actual = run.data.num_frames, run.model.visual_encoder.in_channels
    per_frame = _RGB_CHANNELS
    if run.data.latent_space:
        per_frame = latent_channels or max(actual // num_frames, 1)
    if actual != num_frames * per_frame:
        raise ConfigError(
            f"model.visual_encoder.in_channels is {actual}, but {num_frames} frames of {per_frame} channels "
            f"make {num_frames * per_frame}: change it or data.num_frames"
        )


def _check_mel_columns(run: SyncNetRun) -> None:
    """Raise ConfigError if the mel and the frames of a window differ in duration by more than one frame."""
    data = run.data
    columns_per_frame = _MEL_COLUMNS_PER_SECOND / data.video_fps
    if abs(data.num_mel_columns - data.num_frames * columns_per_frame) > columns_per_frame:
        raise ConfigError(
            f"data.num_mel_columns is {data.num_mel_columns}, but {data.num_frames} frames last "
            f"{data.num_frames * columns_per_frame:.1f} columns: change one of them"
        )


def _frame_size(run: SyncNetRun, latent_factor: int) -> tuple[int, int]:
    resolution = run.data.resolution
    if run.data.latent_space:
        return resolution // latent_factor, resolution // latent_factor
    return (resolution // 2 if run.data.lower_half else resolution), resolution


def _embedding_length(config: SyncEncoderConfig, name: str, shape: tuple[int, int, int], what: str) -> int:
    try:
        with torch.device("meta"), torch.no_grad():
            return SyncEncoder(config)(torch.empty(1, *shape)).shape[-1]
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"model.{name} cannot take {what} of {_times(shape)}: {first_line(error)}") from error


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
