"""Whether the parts of a SyncNet's configuration fit: what its windows are, and what its two stacks make of them."""

import torch

from latentsync.errors import ConfigError
from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoder, SyncEncoderConfig
from latentsync.models.vae import LatentCodec, VaeShape
from latentsync.recipes.syncnet_run import SyncNetRun

_RGB_CHANNELS = 3
_NUM_MELS = 80
_MEL_COLUMNS_PER_SECOND = 80
_LATENT_FACTOR = 8


def check_syncnet_shapes(run: SyncNetRun, codec: LatentCodec | VaeShape | None = None) -> None:
    """Follows the shape of one window through both stacks; costs nothing, since no number is computed.

    Args:
        run: the configuration.
        codec: the autoencoder, where the network looks at latents and it is here; else one of factor 8 is assumed.

    Raises:
        ConfigError: the window does not go through, or the two vectors differ in length; it says what to change.
    """
    _check_channels(run, None if codec is None else codec.latent_channels)
    _check_mel_columns(run)
    data, model = run.data, run.model
    seen = (model.visual_encoder.in_channels, *_picture_size(run, _LATENT_FACTOR if codec is None else codec.factor))
    heard = (model.audio_encoder.in_channels, _NUM_MELS, data.num_mel_columns)
    lengths = [
        _vector_length(model.visual_encoder, "visual_encoder", seen, "pictures"),
        _vector_length(model.audio_encoder, "audio_encoder", heard, "a mel"),
    ]
    if lengths[0] != lengths[1]:
        raise ConfigError(
            f"pictures {_times(seen)} end in {lengths[0]} numbers and a mel {_times(heard)} in {lengths[1]}: they are "
            "compared, so change the last of block_out_channels, or downsample_factors until both stacks end at 1x1"
        )


def empty_syncnet(run: SyncNetRun) -> StableSyncNet:
    """The network of a configuration; on the "meta" device it costs nothing.

    Raises:
        ConfigError: its parts do not fit; not looked at for a network on latents, where the autoencoder decides.
    """
    if not run.data.latent_space:
        check_syncnet_shapes(run)
    return StableSyncNet(run.model)


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
    """The mel of a window is as long as its frames, up to one frame."""
    data = run.data
    columns_per_frame = _MEL_COLUMNS_PER_SECOND / data.video_fps
    if abs(data.num_mel_columns - data.num_frames * columns_per_frame) > columns_per_frame:
        raise ConfigError(
            f"data.num_mel_columns is {data.num_mel_columns}, but {data.num_frames} frames last "
            f"{data.num_frames * columns_per_frame:.1f} columns: change one of them"
        )


def _picture_size(run: SyncNetRun, latent_factor: int) -> tuple[int, int]:
    resolution = run.data.resolution
    if run.data.latent_space:
        return resolution // latent_factor, resolution // latent_factor
    return (resolution // 2 if run.data.lower_half else resolution), resolution


def _vector_length(config: SyncEncoderConfig, name: str, shape: tuple[int, int, int], what: str) -> int:
    try:
        with torch.device("meta"), torch.no_grad():
            return SyncEncoder(config)(torch.empty(1, *shape)).shape[-1]
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"model.{name} cannot take {what} of {_times(shape)}: {reason}") from error


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
