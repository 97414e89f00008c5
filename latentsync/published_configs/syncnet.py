"""What becomes of the keys of a published SyncNet configuration (configs/syncnet/*.yaml there)."""

from typing import Any

from latentsync.published_configs.unet import num_mel_columns
from latentsync.published_configs.values import KeyTable, PublishedValues, first_named, training_values

_ENCODER_KEYS = ("in_channels", "block_out_channels", "downsample_factors", "attn_blocks", "dropout")


def _data(values: PublishedValues) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "data.train_clips": first_named(values, "data.train_fileslist", "data.train_data_dir"),
        "data.validation_clips": first_named(values, "data.val_fileslist", "data.val_data_dir"),
    }
    if "data.num_frames" in values:
        ours["data.num_mel_columns"] = num_mel_columns(values)
    return ours


def _initial(values: PublishedValues) -> dict[str, Any]:
    return {"initial": first_named(values, "ckpt.resume_ckpt_path")}


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
    sections={"data": _data, "initial": _initial, "training": training_values},
    handled=(
        "data.train_fileslist", "data.train_data_dir", "data.val_fileslist", "data.val_data_dir",
        "data.train_output_dir", "ckpt.resume_ckpt_path", "ckpt.inference_ckpt_path", "run.max_train_steps",
        "run.mixed_precision_training",
    ),
)  # fmt: skip
