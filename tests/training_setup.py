"""A folder for training a U-Net or SyncNet within seconds: clips, tiny networks, a configuration."""

import subprocess
from pathlib import Path

import yaml

from latentsync.audio.whisper_model import save_whisper_encoder
from latentsync.config import load_config
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.recipes.syncnet_run import SyncNetRun
from tests.golden_values import fill_deterministic
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline


def write_clips(folder: Path, num_clips: int, seconds: float = 1.6, size: int = RESOLUTION) -> Path:
    """Write square clips of moving patterns, each with a different pattern and tone."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_clips):
        picture = f"testsrc2=size={size}x{size}:rate=25:duration={seconds},hue=h={30 * index}"
        sound = f"sine=frequency={200 + 90 * index}:sample_rate=16000:duration={seconds}"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        command += ["-pix_fmt", "yuv420p", "-c:a", "aac", str(folder / f"clip {index}.mp4")]
        subprocess.run(command, check=True)
    return folder


def write_unet_setup(folder: Path, **training: object) -> Path:
    """Write clips, a VAE, an audio encoder and `unet.yaml` to `folder`; return the path of the configuration."""
    pipeline = tiny_pipeline()
    vae = pipeline.synthesizer.codec.vae
    vae.save_pretrained(folder / "vae")
    save_whisper_encoder(folder / "whisper.pt", pipeline.audio_encoder)
    write_clips(folder / "clips", 3)
    write_clips(folder / "held out", 2)
    config = {
        "model": {
            "cross_attention_dim": 16,
            "block_out_channels": [16, 32],
            "attention_head_dim": 2,
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "use_motion_module": True,
        },
        "data": {
            "resolution": RESOLUTION,
            "num_frames": 4,
            "train_clips": str(folder / "clips"),
            "validation_clips": str(folder / "held out"),
            "cache_dir": str(folder / "cache"),
        },
        "run": {"inference_steps": 2},
        "audio": {"whisper": str(folder / "whisper.pt")},
        "vae": str(folder / "vae"),
        "training": {
            "run_dir": str(folder / "run"),
            "max_steps": 2,
            "batch_size": 2,
            "num_workers": 0,
            "log_every": 1,
            "validate_every": 2,
            "device": "cpu",
            "mixed_precision": "no",
            "num_threads": 1,
            **training,
        },
        "validation": {
            "num_windows": 2,
            "num_frames": 8,
            "scorer": "stable_syncnet",
            "syncnet": str(folder / "syncnet.yaml"),
            "syncnet_checkpoint": str(folder / "syncnet.pt"),
        },
    }
    _write_syncnet(folder)
    path = folder / "unet.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _write_syncnet(folder: Path) -> None:
    """Write a random SyncNet for windows of 4 frames and 16 mel columns: `syncnet.yaml` and `syncnet.pt`."""
    config = {
        "model": {
            "audio_encoder": {
                "in_channels": 1,
                "block_out_channels": [8, 8],
                "downsample_factors": [[8, 4], [10, 4]],
                "norm_num_groups": 4,
            },
            "visual_encoder": {
                "in_channels": 12,
                "block_out_channels": [8, 8],
                "downsample_factors": [[4, 4], [4, 8]],
                "norm_num_groups": 4,
            },
        },
        "data": {"resolution": 32, "num_frames": 4, "num_mel_columns": 16},
    }
    (folder / "syncnet.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    syncnet = StableSyncNet(load_config(folder / "syncnet.yaml", SyncNetRun).model)
    save_checkpoint(folder / "syncnet.pt", fill_deterministic(syncnet).state_dict(), 0)
