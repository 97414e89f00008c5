"""Build the lip-sync pipeline from a configuration and weights."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import latentsync
from latentsync.audio.silero_network import silero_weights
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.device import resolve_device, resolve_dtype
from latentsync.device_memory import naming_memory_errors
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector, resolve_detector
from latentsync.face.landmarks68 import Landmarks68Detector, missing_weights
from latentsync.face.xseg import require_xseg
from latentsync.media.occluder_masks import open_masks
from latentsync.models.checkpoint import load_unet
from latentsync.models.compilation import check_compiler, compile_blocks
from latentsync.models.vae import load_vae, read_vae_shape
from latentsync.pipelines.lipsync_pipeline import NO_EXACT_DETECTOR, LipsyncPipeline
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import LipsyncOptions, memory_remedy
from latentsync.pipelines.presets import find_preset
from latentsync.pipelines.synthesis import WeightFiles
from latentsync.recipes.adapted_weights import read_adapted
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import cache_key, content_key
from latentsync.weights import (
    AUXILIARY,
    CHECKPOINTS,
    DEMO_UNET,
    MTCNN_FALLBACK,
    REPOSITORY_ROOT,
    UNET,
    find_tiny_vae,
    find_vae,
    find_weight_set,
    locate,
)

logger = logging.getLogger(__name__)

SECTIONS = ("model", "data", "run", "audio", "vae")
"""Sections of a U-Net configuration that inference reads; the others of a published one are ignored."""

GIVEN, FOUND = "given", "found"


@dataclass(frozen=True)
class ChosenWeights:
    """Weights for inference.

    Attributes:
        unet_config: U-Net configuration.
        unet_checkpoint: U-Net weights.
        version: "published-512", "published-256" or "demo"; None for files named by the user.
        reason: `GIVEN` if the user named the files, `FOUND` if they were found in the checkpoints folder.
        adapted: folder of weights adapted to one person, which the user named; None for others.
        decoder: weights that replace those of the VAE's decoder, or None.
    """

    unet_config: Path
    unet_checkpoint: Path
    version: str | None
    reason: str
    adapted: Path | None = None
    decoder: Path | None = None

    @property
    def is_demo(self) -> bool:
        """True for the bundled weights, also if the user named them as files."""
        return self.version == "demo" or self.unet_checkpoint.resolve().parent == (CHECKPOINTS / DEMO_UNET).parent

    @property
    def name(self) -> str:
        """Short name without folders: the version, or the name of the checkpoint."""
        if self.adapted is not None:
            return self.adapted.name
        return self.version or self.unet_checkpoint.name

    def describe(self) -> str:
        """Return one line for the terminal."""
        if self.adapted is not None:
            return f"adapted ({self.adapted})"
        if self.reason == GIVEN:
            return f"{self.unet_checkpoint} with {self.unet_config}"
        return f"{self.version} ({self.unet_checkpoint})"


def choose_weights(config: Path | None = None, unet: Path | None = None, adapted: Path | None = None) -> ChosenWeights:
    """Return the weights that the user named, or else those that `weights.find_weight_set` finds.

    Args:
        config, unet: configuration and checkpoint of the U-Net: both or neither.
        adapted: folder of weights adapted to one person (`adapt.sh`), instead of both.

    Raises:
        InputError: only one of them is given, or `adapted` as well.
        CheckpointError: no weights are found, or the adapted ones cannot be used.
    """
    if adapted is not None:
        if config is not None or unet is not None:
            raise InputError("--adapted contains configuration and weights: leave the other two options out")
        weights = read_adapted(adapted)
        return ChosenWeights(weights.config, weights.checkpoint, None, GIVEN, adapted, weights.decoder)
    if (config is None) != (unet is None):
        raise InputError("--unet_config_path and --inference_ckpt_path belong together: give both or neither")
    if config is not None and unet is not None:
        return ChosenWeights(config, unet, None, GIVEN)
    found = find_weight_set()
    return ChosenWeights(found.unet_config, found.unet_checkpoint, found.name, FOUND)


@dataclass(frozen=True)
class LipsyncBuild:
    """Settings that the pipeline is built from.

    Attributes:
        config: U-Net configuration; its relative paths start at the repository.
        unet: checkpoint of the U-Net.
        device: device of the networks.
        dtype: dtype of the U-Net, the VAE and the audio encoder.
        detector: ``auto``, ``mtcnn`` or ``face_alignment``.
        vae: ``full``, the VAE of the configuration, or ``tiny``, the AutoencoderTiny with the same latents.
        compile: compile the U-Net's repeated blocks.
        decoder: weights that replace those of the full VAE's decoder, or None.
    """

    config: Path
    unet: Path
    device: torch.device
    dtype: torch.dtype
    detector: str = "auto"
    vae: str = "full"
    compile: bool = False
    decoder: Path | None = None

    @classmethod
    def of(
        cls,
        weights: ChosenWeights,
        device: str = "auto",
        dtype: str = "auto",
        detector: str = "auto",
        vae: str = "full",
        compile: bool = False,
    ) -> "LipsyncBuild":
        """Return the build of chosen weights.

        Args:
            weights: the choice.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            detector, vae, compile: see the attributes.

        Raises:
            InputError: the device or the dtype cannot be used.
        """
        files = weights.unet_config, weights.unet_checkpoint
        chosen = resolve_device(device)
        return cls(*files, chosen, resolve_dtype(dtype, chosen), detector, vae, compile, weights.decoder)

    @property
    def used_decoder(self) -> Path | None:
        """The decoder's own weights, which belong to the full VAE alone."""
        return self.decoder if self.vae == "full" else None

    @cached_property
    def run(self) -> UNetRun:
        """The parsed configuration.

        Raises:
            ConfigError: the configuration cannot be read.
        """
        return load_config(self.config, UNetRun, sections=SECTIONS)

    @property
    def default_preset(self) -> str | None:
        """The preset of the configuration, or None.

        Raises:
            ConfigError: the configuration cannot be read.
        """
        return self.run.run.preset

    def default_options(
        self, steps: int | None = None, guidance: float | None = None, preset: str | None = None
    ) -> LipsyncOptions:
        """Return the options of the configuration and of a preset, which wins.

        Args:
            steps, guidance: win over both.
            preset: a name, such as `default_preset`; None uses none.

        Raises:
            ConfigError: the configuration cannot be read, a number is out of range, or the preset is unknown.
        """
        sampling = self.run.run
        options = LipsyncOptions(sampling.inference_steps, sampling.guidance_scale)
        if preset is not None:
            options = replace(options, **find_preset(preset).options())
        return replace(
            options,
            num_inference_steps=options.num_inference_steps if steps is None else steps,
            guidance_scale=options.guidance_scale if guidance is None else guidance,
        )

    def with_networks_of(self, preset: str | None) -> "LipsyncBuild":
        """Return a build that loads the networks of a preset.

        Raises:
            ConfigError: the preset is unknown.
        """
        vae = self.vae if preset is None else find_preset(preset).vae
        return self if vae == self.vae else replace(self, vae=vae)


def build_pipeline(build: LipsyncBuild) -> LipsyncPipeline:
    """Load all networks and build the pipeline.

    Raises:
        ConfigError: the configuration cannot be read, its parts do not fit together, or torch.compile does not work.
        CheckpointError: weights are missing or do not fit the configuration.
        DeviceMemoryError: the networks do not fit into the memory of the device.
    """
    run = build.run
    warn_if_anchors_differ(build)
    if build.compile:
        check_compiler(build.device)
    remedy = memory_remedy(build.device, build.dtype, run.data.resolution)
    with naming_memory_errors("loading the networks", build.device, remedy):
        unet = load_unet(run.model, build.unet, build.device, build.dtype, resolution=run.data.resolution)
        if build.compile:
            compile_blocks(unet)
        whisper, vae = locate(run.audio.whisper), vae_folder(build)
        audio_encoder = load_whisper_encoder(whisper, build.device, build.dtype)
        if audio_encoder.width != run.model.cross_attention_dim:
            raise CheckpointError(
                f"{run.audio.whisper} gives audio features of width {audio_encoder.width}, but {build.config} requires "
                f"{run.model.cross_attention_dim}: 384 is whisper/tiny.pt, 768 is whisper/small.pt"
            )
        detector, exact_detector = build_detectors(build)
        return LipsyncPipeline(
            unet=unet.requires_grad_(False),
            codec=load_vae(vae, build.device, build.dtype, build.used_decoder),
            audio_encoder=audio_encoder,
            detector=detector,
            resolution=run.data.resolution,
            num_frames=run.data.num_frames,
            model_fps=run.data.video_fps,
            exact_detector=exact_detector,
            files=WeightFiles(build.unet, vae, whisper),
        )


def vae_folder(build: LipsyncBuild) -> Path:
    """Find the folder of the full or the tiny VAE.

    Raises:
        CheckpointError: it is missing, or the tiny one has other latents than the U-Net.
    """
    if build.vae == "full":
        return find_vae(build.run.vae)
    folder, wanted = find_tiny_vae(build.run.vae), build.run.model.out_channels
    if (channels := read_vae_shape(folder).latent_channels) != wanted:
        raise CheckpointError(
            f"the tiny VAE {folder} has {channels} latent channels, the U-Net {wanted}: use --vae full"
        )
    return folder


def warn_if_anchors_differ(build: LipsyncBuild) -> None:
    """Log one line if the published U-Net gets its anchors from a fallback detector that the user did not choose."""
    is_published = build.unet.resolve() == (CHECKPOINTS / UNET).resolve()
    missing = missing_weights(AUXILIARY)
    if is_published and build.detector == "auto" and missing:
        names = ", ".join(missing)
        logger.warning("%s; missing: %s: run python -m scripts.download_weights", MTCNN_FALLBACK, names)


def check_exact(build: LipsyncBuild, options: LipsyncOptions) -> None:
    """Reject the option `exact` before any network is loaded if the published VAE, layers or anchors are not used.

    Raises:
        ConfigError: the tiny VAE or compilation was chosen.
        CheckpointError: face-alignment's weights are missing and no other detector was chosen.
    """
    if options.exact and build.vae != "full":
        raise ConfigError(f"vae is {build.vae}, which contradicts exact: use full, or omit exact")
    if options.exact and build.compile:
        raise ConfigError("compile contradicts exact, since compiled layers round differently: omit one of them")
    if options.exact and build.detector == "auto" and (missing := missing_weights(AUXILIARY)):
        raise CheckpointError(f"{NO_EXACT_DETECTOR} (missing: {', '.join(missing)})")


def check_silence(options: LipsyncOptions) -> None:
    """Reject the option `silence` before any network is loaded if Silero VAD is missing.

    Raises:
        CheckpointError: the package with its weights is not installed.
    """
    if options.silence != "off":
        silero_weights()


def build_detectors(build: LipsyncBuild) -> tuple[FaceDetector, FaceDetector | None]:
    """Build the face detector and that of `exact`: landmarks in whole frames, or MTCNN if the user chose it, or None.

    Raises:
        CheckpointError: weights are missing or unreadable.
    """
    detector = build_detector(build.detector, build.device, AUXILIARY)
    if isinstance(detector, Landmarks68Detector):
        return detector, detector.in_whole_frames()
    return detector, detector if build.detector == "mtcnn" else None


def result_settings(build: LipsyncBuild, options: LipsyncOptions) -> dict[str, Any]:
    """Return everything except the inputs that affects a result, as plain values; weights by their content."""
    run = build.run
    vae = vae_folder(build)
    weights = {"unet": build.unet, "audio_encoder": locate(run.audio.whisper)}
    weights |= {f"vae/{path.name}": path for path in sorted(vae.iterdir()) if path.is_file()}
    if build.used_decoder is not None:
        weights["vae_decoder"] = build.used_decoder
    return {
        "latentsync": latentsync.__version__,
        "options": _plain(asdict(replace(options, occluder=_occluder_key(options.occluder)))),
        "weights": {name: content_key(path) for name, path in weights.items()},
        "config": _relative_to_repository(build.config),
        "model": _plain(asdict(run.model)),
        "resolution": run.data.resolution,
        "num_frames": run.data.num_frames,
        "video_fps": run.data.video_fps,
        "detector": resolve_detector(build.detector, AUXILIARY),
        "device": build.device.type,
        "dtype": str(build.dtype).removeprefix("torch."),
        "compile": build.compile,
        "torch": torch.__version__,
    }


def _occluder_key(occluder: str | None) -> str | None:
    """Return what identifies the content of the masks, or of the network that finds them."""
    if occluder is None:
        return None
    files = [require_xseg()] if occluder == AUTO else open_masks(Path(occluder)).files
    return cache_key(*map(content_key, files))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON stores them, with lists in place of tuples."""
    return json.loads(json.dumps(values))


def _relative_to_repository(path: Path) -> str:
    """Return a path for records: relative to the repository, or only the name of a file outside it."""
    path = path.resolve()
    return str(path.relative_to(REPOSITORY_ROOT)) if path.is_relative_to(REPOSITORY_ROOT) else path.name
