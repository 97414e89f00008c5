"""Configurations with the keys of the published repository, written for tests."""

from pathlib import Path
from typing import Any

import yaml

DOWN = ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"]
UP = ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3


def published_unet() -> dict[str, dict[str, Any]]:
    """All keys of a stage-2 U-Net."""
    motion = {
        "num_attention_heads": 8,
        "num_transformer_block": 1,
        "attention_block_types": ["Temporal_Self", "Temporal_Self"],
        "temporal_position_encoding": True,
        "temporal_position_encoding_max_len": 24,
        "temporal_attention_dim_div": 1,
        "zero_initialize": True,
    }
    return {
        "data": {
            "syncnet_config_path": "configs/syncnet/syncnet_16_pixel_attn.yaml", "train_output_dir": "debug/unet",
            "train_fileslist": "lists/train.txt", "train_data_dir": "", "audio_embeds_cache_dir": "cache/embeds",
            "audio_mel_cache_dir": "cache/mel", "val_video_path": "one.mp4", "val_audio_path": "one.wav",
            "batch_size": 2, "num_workers": 12, "num_frames": 16, "resolution": 512, "mask_image_path": "mask.png",
            "audio_sample_rate": 16000, "video_fps": 25, "audio_feat_length": [2, 2],
        },
        "ckpt": {"resume_ckpt_path": "checkpoints/latentsync_unet.pt", "save_ckpt_steps": 10000},
        "run": {
            "pixel_space_supervise": True, "use_syncnet": True, "sync_loss_weight": 0.05,
            "perceptual_loss_weight": 0.1, "recon_loss_weight": 1, "guidance_scale": 2.5, "trepa_loss_weight": 10,
            "inference_steps": 30, "trainable_modules": ["motion_modules.", "attentions."], "seed": 1247,
            "use_mixed_noise": True, "mixed_noise_alpha": 2, "mixed_precision_training": True,
            "enable_gradient_checkpointing": True, "max_train_steps": 10000000, "max_train_epochs": -1,
        },
        "optimizer": {
            "lr": 2e-5, "scale_lr": False, "max_grad_norm": 0.5, "lr_scheduler": "constant", "lr_warmup_steps": 7,
        },
        "model": {
            "act_fn": "silu", "add_audio_layer": True, "attention_head_dim": 8,
            "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": False, "cross_attention_dim": 384,
            "down_block_types": DOWN, "mid_block_type": "UNetMidBlock3DCrossAttn", "up_block_types": UP,
            "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 13,
            "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-5, "norm_num_groups": 32,
            "out_channels": 4, "sample_size": 64, "resnet_time_scale_shift": "default", "use_motion_module": True,
            "motion_module_resolutions": [1, 2, 4, 8], "motion_module_mid_block": False,
            "motion_module_decoder_only": False, "motion_module_type": "Vanilla", "motion_module_kwargs": motion,
        },
    }  # fmt: skip


def published_syncnet() -> dict[str, dict[str, Any]]:
    """All keys of the SyncNet with attention."""
    return {
        "model": {
            "audio_encoder": {
                "in_channels": 1, "block_out_channels": [32, 64, 128, 256, 512, 1024, 2048],
                "downsample_factors": [[2, 1], 2, 2, 1, 2, 2, [2, 3]], "attn_blocks": [0, 0, 0, 1, 1, 0, 0],
                "dropout": 0.0,
            },
            "visual_encoder": {
                "in_channels": 48, "block_out_channels": [64, 128, 256, 256, 512, 1024, 2048, 2048],
                "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2], "attn_blocks": [0, 0, 0, 0, 1, 1, 0, 0],
                "dropout": 0.0,
            },
        },
        "ckpt": {"resume_ckpt_path": "", "inference_ckpt_path": "somewhere/syncnet.pt", "save_ckpt_steps": 2500},
        "data": {
            "train_output_dir": "debug/syncnet", "num_val_samples": 2048, "batch_size": 64,
            "gradient_accumulation_steps": 4, "num_workers": 12, "latent_space": False, "num_frames": 16,
            "resolution": 256, "train_fileslist": "", "train_data_dir": "clips/train", "val_fileslist": "",
            "val_data_dir": "clips/val", "audio_mel_cache_dir": "cache/mel", "lower_half": True,
            "audio_sample_rate": 16000, "video_fps": 25,
        },
        "optimizer": {"lr": 1e-5, "max_grad_norm": 1.0},
        "run": {"max_train_steps": 5000, "validation_steps": 1250, "mixed_precision_training": False, "seed": 42},
    }  # fmt: skip


def write_yaml(path: Path, content: dict[str, Any], **changes: Any) -> Path:
    """Write a configuration with changed values by dotted key ("model__act_fn"); None removes a key."""
    for key, value in changes.items():
        *parents, name = key.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        section[name] = value
        if value is None:
            del section[name]
    path.write_text(yaml.safe_dump(content))
    return path
