"""Key tables: how the values of published U-Net and SyncNet configurations are translated to this repository's keys."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from latentsync.errors import ConfigError
from latentsync.weights import REPOSITORY_ROOT


class PublishedValues:
    """Values of a published configuration by dotted key, such as "model.motion_module_kwargs.zero_initialize"."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self._values = dict(_flattened(content))

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def keys(self) -> list[str]:
        """All dotted keys, in the order of the file."""
        return list(self._values)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if the file does not have it."""
        return self._values.get(key, default)

    def require(self, key: str, remedy: str) -> Any:
        """Return the value of a key. Raise ConfigError with the remedy if it is missing."""
        if key not in self._values:
            raise ConfigError(f"{self.path}: {key} is missing: {remedy}")
        return self._values[key]

    def refusal(self, key: str, remedy: str) -> ConfigError:
        """Return the error for a value without an equivalent here."""
        return ConfigError(f"{self.path}: {key} is {_shown(self.get(key))}, which has no equivalent here: {remedy}")

    def demand(self, key: str, allowed: Any) -> None:
        """Raise ConfigError unless the key is absent or has the one value that this implementation supports."""
        if key in self._values and self._values[key] != allowed:
            raise self.refusal(key, f"write {key.rpartition('.')[2]}: {_shown(allowed)}")


Section = Callable[[PublishedValues], dict[str, Any]]
"""Return values by this repository's dotted keys, for one of its sections."""


@dataclass(frozen=True)
class KeyTable:
    """Translation of one kind of published configuration.

    Attributes:
        same_meaning: published key -> this repository's key.
        fixed: per section of this repository: published keys and the only value that is supported.
        ignored: published keys without a meaning here.
        sections: per section of this repository: function for keys that need more than another name.
        handled: published keys that these functions read.
    """

    same_meaning: Mapping[str, str]
    fixed: Mapping[str, Mapping[str, Any]]
    ignored: tuple[str, ...]
    sections: Mapping[str, Section]
    handled: tuple[str, ...] = field(default=())

    @property
    def known(self) -> set[str]:
        """All published keys."""
        fixed = {key for keys in self.fixed.values() for key in keys}
        return fixed.union(self.same_meaning, self.ignored, self.handled)


def first_named(values: PublishedValues, *keys: str) -> str | None:
    """Return the first value of some keys that is not empty."""
    return next((str(values.get(key)) for key in keys if values.get(key)), None)


def training_values(values: PublishedValues) -> dict[str, Any]:
    """Return settings of the training loop that both kinds of configuration have.

    Raises:
        ConfigError: the length of the training is given in epochs.
    """
    result: dict[str, Any] = {}
    if values.get("data.train_output_dir"):
        # Every published run creates a new folder. Runs here resume in their folder, so two stages must not share one.
        result["training.run_dir"] = f"{values.get('data.train_output_dir')}/{values.path.stem}"
    if "run.max_train_steps" in values:
        if values.get("run.max_train_steps") == -1:
            raise values.refusal("run.max_train_steps", "write the number of steps instead of max_train_epochs")
        result["training.max_steps"] = values.get("run.max_train_steps")
    if "run.mixed_precision_training" in values:
        result["training.mixed_precision"] = "auto" if values.get("run.mixed_precision_training") else "no"
    return result


def _flattened(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            pairs += _flattened(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _shown(value: Any) -> str:
    """Return a value as YAML text."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else str(value)


WHISPER = {384: "checkpoints/whisper/tiny.pt", 768: "checkpoints/whisper/small.pt"}
SCHEDULES = {"constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine"}
DOWN_BLOCKS = {"CrossAttnDownBlock3D": True, "DownBlock3D": False}
_KWARGS = "model.motion_module_kwargs"
_SAME_MODEL_KEYS = (
    "add_audio_layer", "attention_head_dim", "block_out_channels", "cross_attention_dim", "in_channels",
    "layers_per_block", "norm_num_groups", "out_channels", "use_motion_module", "motion_module_resolutions",
    "motion_module_mid_block", "motion_module_decoder_only",
)  # fmt: skip
_MOTION_MODULE = {
    "model.motion_module_type": "Vanilla",
    f"{_KWARGS}.num_transformer_block": 1,
    f"{_KWARGS}.attention_block_types": ["Temporal_Self", "Temporal_Self"],
    f"{_KWARGS}.temporal_position_encoding": True,
    f"{_KWARGS}.temporal_attention_dim_div": 1,
}


def _model(values: PublishedValues) -> dict[str, Any]:
    """Translate attention levels and check the motion modules."""
    if values.get("model.use_motion_module"):
        for key, allowed in _MOTION_MODULE.items():
            values.demand(key, allowed)
        values.demand(f"{_KWARGS}.num_attention_heads", values.get("model.attention_head_dim", 8))
    return {} if "model.down_block_types" not in values else _attention_levels(values)


def _attention_levels(values: PublishedValues) -> dict[str, Any]:
    down = values.get("model.down_block_types")
    if not isinstance(down, list) or not all(block in DOWN_BLOCKS for block in down):
        raise values.refusal("model.down_block_types", f"write a list of {' and '.join(DOWN_BLOCKS)}")
    num_levels = len(values.get("model.block_out_channels", down))
    if len(down) != num_levels:
        raise values.refusal("model.down_block_types", f"name as many blocks as block_out_channels, {num_levels}")
    up = [block.replace("Down", "Up") for block in reversed(down)]
    values.demand("model.up_block_types", up)
    return {"model.attention_levels": [level for level, block in enumerate(down) if DOWN_BLOCKS[block]]}


def _unet_data(values: PublishedValues) -> dict[str, Any]:
    result: dict[str, Any] = {"data.train_clips": first_named(values, "data.train_fileslist", "data.train_data_dir")}
    if "data.num_frames" in values:
        result["data.num_mel_columns"] = num_mel_columns(values)
    return result


def num_mel_columns(values: PublishedValues) -> int:
    """Return the mel columns of a window: 80 per second at 25 frames per second, rounded up."""
    num_frames = values.get("data.num_frames")
    if not isinstance(num_frames, int):
        raise values.refusal("data.num_frames", "write a whole number")
    return math.ceil(num_frames * 16 / 5)


def _audio(values: PublishedValues) -> dict[str, Any]:
    if not values.get("model.add_audio_layer", True) or "model.cross_attention_dim" not in values:
        return {}
    width = values.get("model.cross_attention_dim")
    if width not in WHISPER:
        raise values.refusal("model.cross_attention_dim", "write 384 (whisper/tiny.pt) or 768 (whisper/small.pt)")
    return {"audio.whisper": WHISPER[width]}


def _initial(values: PublishedValues) -> dict[str, Any]:
    return {"initial": first_named(values, "ckpt.resume_ckpt_path")}


def _trainable(values: PublishedValues) -> dict[str, Any]:
    """Return the trainable parts; without motion modules the published training ignores its list and trains all."""
    if not values.get("model.use_motion_module"):
        return {"trainable": []}
    return {"trainable": values.require("run.trainable_modules", "list parts of the names of the weights that train")}


def _diffusion(values: PublishedValues) -> dict[str, Any]:
    """Return the noise weights; without mixed noise all frames of a window share their noise."""
    if not values.get("run.use_mixed_noise", True):
        return {"diffusion.shared_noise": [math.inf]}
    return {"diffusion.shared_noise": [values.get("run.mixed_noise_alpha", 1.0)]}


def _losses(values: PublishedValues) -> dict[str, Any]:
    in_pixels = values.require("run.pixel_space_supervise", "write true (LPIPS and TREPA on decoded frames) or false")
    result: dict[str, Any] = {"losses.sync.weight": 0.0}
    for name in ("perceptual", "trepa"):
        result[f"losses.{name}.weight"] = values.get(f"run.{name}_loss_weight", 0.0) if in_pixels else 0.0
    if values.get("run.use_syncnet") and values.get("model.add_audio_layer", True):
        syncnet = values.require("data.syncnet_config_path", "name the SyncNet's YAML")
        result["losses.sync.weight"] = values.require("run.sync_loss_weight", "write 0.05, as published")
        result["losses.sync.space"] = "pixel" if in_pixels else "latent"
        result["losses.sync.config"] = syncnet
        result |= _syncnet_checkpoint(REPOSITORY_ROOT / str(syncnet))
    return result


def _syncnet_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint that a published SyncNet configuration names; one of this repository names none."""
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError):
        return {}  # `build_losses` reports the file and its error
    key = "ckpt.inference_ckpt_path"
    if not isinstance(content, DictConfig) or "ckpt" not in content:
        return {}
    checkpoint = OmegaConf.select(content, key)
    if not checkpoint:
        raise ConfigError(f"{path}: {key} is empty: write where its weights are, such as checkpoints/stable_syncnet.pt")
    return {"losses.sync.checkpoint": checkpoint}


def _training(values: PublishedValues) -> dict[str, Any]:
    """Translate the schedule and intervals; the published loop validates whenever it saves."""
    result = training_values(values)
    if "ckpt.save_ckpt_steps" in values:
        result |= dict.fromkeys(("training.save_every", "training.validate_every"), values.get("ckpt.save_ckpt_steps"))
    if "optimizer.lr_scheduler" in values:
        name = values.get("optimizer.lr_scheduler")
        if name not in SCHEDULES:
            raise values.refusal("optimizer.lr_scheduler", f"write one of {', '.join(SCHEDULES)}")
        result["training.schedule.name"] = SCHEDULES[name]
        # diffusers' "constant" does not warm up.
        warmup = 0 if name == "constant" else values.get("optimizer.lr_warmup_steps", 0)
        result["training.schedule.warmup_steps"] = warmup
    return result


UNET_KEYS = KeyTable(
    same_meaning={
        "data.batch_size": "training.batch_size",
        "data.num_workers": "training.num_workers",
        "data.num_frames": "data.num_frames",
        "data.resolution": "data.resolution",
        "data.video_fps": "data.video_fps",
        "run.guidance_scale": "run.guidance_scale",
        "run.inference_steps": "run.inference_steps",
        "run.recon_loss_weight": "losses.epsilon.weight",
        "run.seed": "training.seed",
        "run.enable_gradient_checkpointing": "training.gradient_checkpointing",
        "optimizer.lr": "training.optimizer.lr",
        "optimizer.max_grad_norm": "training.max_grad_norm",
        f"{_KWARGS}.temporal_position_encoding_max_len": "model.motion_module_max_frames",
        **{f"model.{key}": f"model.{key}" for key in _SAME_MODEL_KEYS},
    },
    fixed={
        "data": {"data.audio_sample_rate": 16000, "data.audio_feat_length": [2, 2]},
        "model": {
            "model.act_fn": "silu",
            "model.center_input_sample": False,
            "model.mid_block_type": "UNetMidBlock3DCrossAttn",
            "model.downsample_padding": 1,
            "model.flip_sin_to_cos": True,
            "model.freq_shift": 0,
            "model.mid_block_scale_factor": 1,
            "model.norm_eps": 1e-5,
            "model.resnet_time_scale_shift": "default",
        },
        "training": {"optimizer.scale_lr": False, f"{_KWARGS}.zero_initialize": True},
    },
    ignored=(
        "data.audio_embeds_cache_dir", "data.audio_mel_cache_dir", "data.mask_image_path", "data.val_video_path",
        "data.val_audio_path", "model.sample_size",
    ),
    sections={
        "model": _model, "data": _unet_data, "audio": _audio, "initial": _initial, "trainable": _trainable,
        "diffusion": _diffusion, "losses": _losses, "training": _training,
    },
    handled=(
        *_MOTION_MODULE, f"{_KWARGS}.num_attention_heads", "model.down_block_types", "model.up_block_types",
        "data.train_fileslist", "data.train_data_dir", "data.syncnet_config_path", "data.train_output_dir",
        "ckpt.resume_ckpt_path", "ckpt.save_ckpt_steps", "run.pixel_space_supervise", "run.use_syncnet",
        "run.sync_loss_weight", "run.perceptual_loss_weight", "run.trepa_loss_weight", "run.trainable_modules",
        "run.use_mixed_noise", "run.mixed_noise_alpha", "run.mixed_precision_training", "run.max_train_steps",
        "run.max_train_epochs", "optimizer.lr_scheduler", "optimizer.lr_warmup_steps",
    ),
)  # fmt: skip


_ENCODER_KEYS = ("in_channels", "block_out_channels", "downsample_factors", "attn_blocks", "dropout")


def _syncnet_data(values: PublishedValues) -> dict[str, Any]:
    result: dict[str, Any] = {
        "data.train_clips": first_named(values, "data.train_fileslist", "data.train_data_dir"),
        "data.validation_clips": first_named(values, "data.val_fileslist", "data.val_data_dir"),
    }
    if "data.num_frames" in values:
        result["data.num_mel_columns"] = num_mel_columns(values)
    return result


SYNCNET_KEYS = KeyTable(
    same_meaning={
        "data.batch_size": "training.batch_size",
        "data.gradient_accumulation_steps": "training.gradient_accumulation",
        "data.num_workers": "training.num_workers",
        "data.latent_space": "data.latent_space",
        "data.num_frames": "data.num_frames",
        "data.resolution": "data.resolution",
        "data.lower_half": "data.lower_half",
        "data.video_fps": "data.video_fps",
        "ckpt.save_ckpt_steps": "training.save_every",
        "optimizer.lr": "training.optimizer.lr",
        "optimizer.max_grad_norm": "training.max_grad_norm",
        "run.validation_steps": "training.validate_every",
        "run.seed": "training.seed",
        **{
            f"model.{name}.{key}": f"model.{name}.{key}"
            for name in ("audio_encoder", "visual_encoder")
            for key in _ENCODER_KEYS
        },
    },
    fixed={"data": {"data.audio_sample_rate": 16000}},
    ignored=("data.num_val_samples", "data.audio_mel_cache_dir"),
    sections={"data": _syncnet_data, "initial": _initial, "training": training_values},
    handled=(
        "data.train_fileslist", "data.train_data_dir", "data.val_fileslist", "data.val_data_dir",
        "data.train_output_dir", "ckpt.resume_ckpt_path", "ckpt.inference_ckpt_path", "run.max_train_steps",
        "run.mixed_precision_training",
    ),
)  # fmt: skip
