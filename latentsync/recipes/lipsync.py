"""Builds the lip-sync pipeline from a configuration and weights."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import latentsync
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.device_memory import naming_memory_errors
from latentsync.errors import CheckpointError, InputError
from latentsync.face.detector import FaceDetector, build_detector, resolve_detector
from latentsync.face.landmarks68 import Landmarks68Detector, missing_weights
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.pipelines.finite import WeightFiles
from latentsync.pipelines.lipsync_pipeline import NO_EXACT_DETECTOR, LipsyncPipeline
from latentsync.pipelines.memory_remedy import memory_remedy
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import content_key
from latentsync.weights import (
    AUXILIARY,
    CHECKPOINTS,
    MTCNN_FALLBACK,
    REPOSITORY_ROOT,
    UNET,
    find_vae,
    find_weight_set,
    locate,
)

logger = logging.getLogger(__name__)

SECTIONS = ("model", "data", "run", "audio", "vae")
"""What inference reads of a U-Net configuration; the other sections of a published one are not looked at."""


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


def build_pipeline(build: LipsyncBuild) -> LipsyncPipeline:
    """Loads every network and joins them.

    Raises:
        ConfigError: the configuration cannot be read, or its parts do not fit.
        CheckpointError: weights are missing or do not fit the configuration.
        DeviceMemoryError: the networks do not fit into the device's memory.
    """
    run = load_config(build.config, UNetRun, sections=SECTIONS)
    warn_of_other_anchors(build)
    remedy = memory_remedy(build.device, build.dtype, run.data.resolution)
    with naming_memory_errors("loading the networks", build.device, remedy):
        return _load_networks(run, build)


def _load_networks(run: UNetRun, build: LipsyncBuild) -> LipsyncPipeline:
    unet = load_unet(run.model, build.unet, build.device, build.dtype, resolution=run.data.resolution)
    whisper, vae = locate(run.audio.whisper), find_vae(run.vae)
    audio_encoder = load_whisper_encoder(whisper, build.device, build.dtype)
    if audio_encoder.width != run.model.cross_attention_dim:
        raise CheckpointError(
            f"{run.audio.whisper} gives audio of width {audio_encoder.width}, but {build.config} wants "
            f"{run.model.cross_attention_dim}: 384 is whisper/tiny.pt, 768 is whisper/small.pt"
        )
    detector = build_detector(build.detector, build.device, AUXILIARY)
    return LipsyncPipeline(
        unet=unet.requires_grad_(False),
        codec=load_vae(vae, build.device, build.dtype),
        audio_encoder=audio_encoder,
        detector=detector,
        resolution=run.data.resolution,
        num_frames=run.data.num_frames,
        model_fps=run.data.video_fps,
        exact_detector=_exact_detector(build.detector, detector),
        files=WeightFiles(build.unet, vae, whisper),
    )


def warn_of_other_anchors(build: LipsyncBuild) -> None:
    """Logs one line where the published U-Net would run with anchors of another detector that nobody asked for."""
    is_published = build.unet.resolve() == (CHECKPOINTS / UNET).resolve()
    missing = missing_weights(AUXILIARY)
    if is_published and build.detector == "auto" and missing:
        names = ", ".join(missing)
        logger.warning("%s; not here: %s: run python -m scripts.download_weights", MTCNN_FALLBACK, names)


def check_exact(build: LipsyncBuild, options: LipsyncOptions) -> None:
    """Refuses the option `exact` before any network is loaded where the published anchors cannot be found.

    Raises:
        CheckpointError: face-alignment's weights are missing, and no detector was named instead.
    """
    if options.exact and build.detector == "auto" and (missing := missing_weights(AUXILIARY)):
        raise CheckpointError(f"{NO_EXACT_DETECTOR} (missing: {', '.join(missing)})")


def _exact_detector(name: str, detector: FaceDetector) -> FaceDetector | None:
    """The detector for the option `exact`: landmarks found in whole frames, or MTCNN where it was named."""
    if isinstance(detector, Landmarks68Detector):
        return detector.in_whole_frames()
    return detector if name == "mtcnn" else None


def choose_weights(config: Path | None = None, unet: Path | None = None) -> tuple[Path, Path, str]:
    """Configuration, U-Net checkpoint and a line that says which weights these are.

    Args:
        config, unet: what the user names, both or neither; with neither, what `weights.find_weight_set` finds.

    Raises:
        InputError: only one of them is named.
        CheckpointError: there are no weights.
    """
    if (config is None) != (unet is None):
        raise InputError("--unet_config_path and --inference_ckpt_path belong together: give both or neither")
    if config is not None and unet is not None:
        return config, unet, f"{unet} with {config}"
    found = find_weight_set()
    return found.unet_config, found.unet_checkpoint, f"{found.name} ({found.unet_checkpoint})"


def default_options(config: Path, steps: int | None = None, guidance: float | None = None) -> LipsyncOptions:
    """Options of a U-Net configuration: its denoising steps and guidance scale, where no others are given.

    Raises:
        ConfigError: the configuration cannot be read, or a number is out of range.
    """
    sampling = load_config(config, UNetRun, sections=SECTIONS).run
    return LipsyncOptions(
        num_inference_steps=sampling.inference_steps if steps is None else steps,
        guidance_scale=sampling.guidance_scale if guidance is None else guidance,
    )


def result_settings(build: LipsyncBuild, options: LipsyncOptions) -> dict[str, Any]:
    """Everything but the inputs that a result depends on, as plain values: weights by content, sampling, device."""
    run = load_config(build.config, UNetRun, sections=SECTIONS)
    vae = find_vae(run.vae)
    weights = {"unet": build.unet, "audio_encoder": locate(run.audio.whisper)}
    weights |= {f"vae/{path.name}": path for path in sorted(vae.iterdir()) if path.is_file()}
    return {
        "latentsync": latentsync.__version__,
        "options": asdict(options),
        "weights": {name: content_key(path) for name, path in weights.items()},
        "config": _shown(build.config),
        "model": json.loads(json.dumps(asdict(run.model))),
        "resolution": run.data.resolution,
        "num_frames": run.data.num_frames,
        "video_fps": run.data.video_fps,
        "detector": resolve_detector(build.detector, AUXILIARY),
        "device": build.device.type,
        "dtype": str(build.dtype).removeprefix("torch."),
        "torch": torch.__version__,
    }


def _shown(path: Path) -> str:
    """A path as it is written into records: relative to the repository where it lies there, else only its name."""
    path = path.resolve()
    return str(path.relative_to(REPOSITORY_ROOT)) if path.is_relative_to(REPOSITORY_ROOT) else path.name
