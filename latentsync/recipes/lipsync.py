"""Builds the lip-sync pipeline from a configuration and weights."""

from dataclasses import dataclass
from pathlib import Path

import torch

from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.errors import CheckpointError
from latentsync.face.detector import build_detector
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import CHECKPOINTS, find_vae, locate


@dataclass(frozen=True)
class LipsyncBuild:
    """What the pipeline is built from.

    Attributes:
        config: a U-Net configuration; its relative paths start at the repository.
        unet: the U-Net's checkpoint.
        device: where the networks run.
        dtype: number format of the U-Net, the VAE and the audio encoder.
        detector: ``auto``, ``mtcnn`` or ``face_alignment``.
    """

    config: Path
    unet: Path
    device: torch.device
    dtype: torch.dtype
    detector: str = "auto"


def build_pipeline(build: LipsyncBuild) -> tuple[LipsyncPipeline, UNetRun]:
    """Loads every network and joins them; also gives the configuration, for its sampling defaults.

    Raises:
        ConfigError: the configuration cannot be read, or its parts do not fit.
        CheckpointError: weights are missing or do not fit the configuration.
    """
    run = load_config(build.config, UNetRun)
    unet = load_unet(run.model, build.unet, build.device, build.dtype, resolution=run.data.resolution)
    audio_encoder = load_whisper_encoder(locate(run.audio.whisper), build.device, build.dtype)
    if audio_encoder.width != run.model.cross_attention_dim:
        raise CheckpointError(
            f"{run.audio.whisper} gives audio of width {audio_encoder.width}, but {build.config} wants "
            f"{run.model.cross_attention_dim}: 384 is whisper/tiny.pt, 768 is whisper/small.pt"
        )
    pipeline = LipsyncPipeline(
        unet=unet.requires_grad_(False),
        codec=load_vae(find_vae(run.vae), build.device, build.dtype),
        audio_encoder=audio_encoder,
        detector=build_detector(build.detector, build.device, CHECKPOINTS / "auxiliary"),
        resolution=run.data.resolution,
        num_frames=run.data.num_frames,
        model_fps=run.data.video_fps,
    )
    return pipeline, run
