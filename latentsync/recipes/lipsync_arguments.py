"""Command-line arguments shared by the commands that run the lip-sync pipeline."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.face.detector import DETECTORS
from latentsync.models.batch_size import BATCH_SIZE
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import SCHEDULERS, SILENCE, SYNC_MODES, TIMESTEP_SPACINGS, VIDEO_FPS, LipsyncOptions
from latentsync.pipelines.presets import PRESETS

if TYPE_CHECKING:  # these import torch, which --help does without
    from latentsync.executors.base import Executor
    from latentsync.pipelines.face_workers import FaceWorkers
    from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
    from latentsync.pipelines.segment_workers import SegmentWorkers
    from latentsync.recipes.lipsync import ChosenWeights, LipsyncBuild

DEEPCACHE_INTERVAL = 3
VAES = ("full", "tiny")
DEFAULTS = LipsyncOptions()
FACE_HELP = (
    "largest (default), only (one person), left, right, an index from the left, x,y, person1 (in the order of "
    "appearance), all, or speaker (by the source's own sound)"
)


@dataclass(frozen=True)
class ChosenPipeline:
    """Weights, build settings and options chosen on a command line; no network is loaded yet.

    Attributes:
        weights, build, options: the choice.
        preset: name of the preset that it starts from, or None.
    """

    weights: ChosenWeights
    build: LipsyncBuild
    options: LipsyncOptions
    preset: str | None = None

    @classmethod
    def of(
        cls, arguments: argparse.Namespace, preset: str | None = None, use_default_preset: bool = True
    ) -> ChosenPipeline:
        """Check the arguments and return the choice.

        Args:
            arguments: the command line.
            preset: wins over `--preset`.
            use_default_preset: without a preset and `--exact`, use the preset of the configuration.

        Raises:
            LatentSyncError: weights are missing, or an argument is out of range.
        """
        from latentsync.recipes.lipsync import check_exact, check_silence

        weights, build = chosen_build(arguments)
        preset = preset or arguments.preset
        if preset is None and use_default_preset and not arguments.exact:
            preset = build.default_preset
        build = build if arguments.vae else build.with_networks_of(preset)
        options = chosen_options(arguments, build, preset)
        check_exact(build, options)
        check_silence(options)
        return cls(weights, build, options, preset)

    def load(self) -> LipsyncPipeline:
        """Build the pipeline."""
        from latentsync.recipes.lipsync import build_pipeline

        return build_pipeline(self.build)

    def pass_workers(self, executor: Executor, num_workers: int) -> tuple[FaceWorkers, SegmentWorkers]:
        """Return workers for the first and the second pass of one video."""
        from latentsync.recipes.segments import pass_workers

        return pass_workers(self.build, executor, num_workers)

    def describe(self) -> str:
        """Return one line with weights, device, dtype, preset and sampling."""
        mode = "; exact" if self.options.exact else ""
        mode += "; tiny VAE" if self.build.vae == "tiny" else ""
        mode += "; compiled" if self.build.compile else ""
        dtype = str(self.build.dtype).removeprefix("torch.")
        name = "sampling" if self.preset is None else f"preset {self.preset}"
        sampling = f"{name}: {self.options.describe_sampling()}"
        return f"weights: {self.weights.describe()}; device: {self.build.device}, {dtype}{mode}; {sampling}"

    def files(self) -> list[Path]:
        """Return the files that every job reads besides its inputs."""
        occluder = self.options.occluder
        masks = [] if occluder is None or occluder == AUTO else [Path(occluder)]
        return [self.build.config, self.build.unet, *masks]


def add_weight_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that name other weights than the default ones."""
    add = parser.add_argument
    add("--unet_config_path", type=Path, help="e.g. configs/unet/stage2_512.yaml")
    add("--inference_ckpt_path", type=Path, help="e.g. checkpoints/latentsync_unet.pt")
    add("--adapted", type=Path, metavar="FOLDER", help="weights adapted to one person by adapt.sh, instead of both")


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments of face detector, VAE, device, dtype, compilation, concurrency and VAE batch size."""
    add = parser.add_argument
    add("--detector", choices=DETECTORS, default="auto")
    add("--vae", choices=VAES, help="tiny is faster and less exact (default: of the preset, or full)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--compile", action="store_true", help="compile the U-Net at the start, which takes minutes")
    add("--concurrent_stages", action="store_true", help="encode, denoise and decode at the same time; more memory")
    add("--vae_batch_size", type=int, default=BATCH_SIZE, help="VAE images at once (default: %(default)s)")


def add_sampling_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments of sampling and encoding that all commands have."""
    add = parser.add_argument
    add("--preset", choices=tuple(PRESETS), help="the defaults of sampling (default: from the configuration)")
    add("--inference_steps", type=int, help="denoising steps (default: of the preset, or from the configuration)")
    add("--guidance_scale", type=finite_number, help="weight of the audio, 1 to 20 (default: from the configuration)")
    add("--seed", type=int, default=DEFAULTS.seed, help="of the noise (default: %(default)s)")
    add("--scheduler", choices=SCHEDULERS, help="(default: of the preset, or ddim)")
    add(
        "--timestep_spacing",
        choices=TIMESTEP_SPACINGS,
        help="trailing starts at the last timestep and needs fewer steps (default: of the preset, or leading)",
    )
    add(
        "--guidance_interval",
        nargs=2,
        type=finite_number,
        metavar=("LOW", "HIGH"),
        help="guide only timesteps t with LOW <= t / 1000 <= HIGH (default: of the preset, or 0 1)",
    )
    add(
        "--batch_size",
        type=batch_size,
        default=DEFAULTS.batch_windows,
        metavar="N|auto",
        help="windows at once; auto: as many as fit into the free memory of a card (default: %(default)s)",
    )
    add("--crf", type=int, default=DEFAULTS.crf, help="quality of the encode, less is better (default: %(default)s)")
    add("--exact", action="store_true", help="reproduce the published system wherever the default differs")


def add_single_video_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that only inference of chosen videos has."""
    add = parser.add_argument
    add("--enable_deepcache", action="store_true", help=f"run deep layers at every {DEEPCACHE_INTERVAL}rd step only")
    add(
        "--overlap_frames",
        type=int,
        help=f"shared by windows (default: of the preset, or {DEFAULTS.overlap_frames}, with --exact 0)",
    )
    add("--video_fps", choices=VIDEO_FPS, default=DEFAULTS.video_fps, help="frames per second (default: %(default)s)")
    add(
        "--sync_mode",
        choices=SYNC_MODES,
        default=DEFAULTS.sync_mode,
        help="a video shorter than the speech is played back and forth (default), repeated (loop), or held (freeze); "
        "cut ends with the shorter of both, silence with the longer",
    )
    add(
        "--silence",
        choices=SILENCE,
        default=DEFAULTS.silence,
        help="keep: music, breath and noise between speech do not move the mouth; close: it is closed there too "
        "(default: %(default)s)",
    )
    add("--face", default=DEFAULTS.face, help=FACE_HELP)
    add(
        "--max_yaw", type=finite_number, metavar="DEGREES", help="fade to the source where a head turns further (10-90)"
    )
    add(
        "--occluder",
        metavar="PATH|auto",
        help="keep what is in front of the face: mask video, folder of masks, or auto",
    )
    add("--compare", action="store_true", help="also write source and result side by side")
    add("--timeline", action="store_true", help="also write an image of what was done with each person when")


def chosen_build(arguments: argparse.Namespace) -> tuple[ChosenWeights, LipsyncBuild]:
    """Return the weights and build settings of `add_weight_arguments` and `add_device_arguments`."""
    from latentsync.recipes.lipsync import LipsyncBuild, choose_weights

    weights = choose_weights(arguments.unet_config_path, arguments.inference_ckpt_path, arguments.adapted)
    vae = arguments.vae or VAES[0]
    build = LipsyncBuild.of(
        weights, arguments.device, arguments.dtype, arguments.detector, vae=vae, compile=arguments.compile
    )
    return weights, build


def chosen_options(arguments: argparse.Namespace, build: LipsyncBuild, preset: str | None) -> LipsyncOptions:
    """Return the options of the arguments.

    An argument wins over the preset, which wins over the configuration. Arguments that a command does not offer have
    their default value.

    Raises:
        ConfigError: the configuration cannot be read, or a value is out of range.
    """
    options = build.default_options(arguments.inference_steps, arguments.guidance_scale, preset)
    overlap = getattr(arguments, "overlap_frames", None)
    if overlap is None:
        overlap = 0 if arguments.exact else options.overlap_frames
    return replace(
        options,
        seed=arguments.seed,
        scheduler=arguments.scheduler or options.scheduler,
        timestep_spacing=arguments.timestep_spacing or options.timestep_spacing,
        guidance_interval=arguments.guidance_interval or options.guidance_interval,
        deepcache_interval=DEEPCACHE_INTERVAL if getattr(arguments, "enable_deepcache", False) else 1,
        overlap_frames=overlap,
        batch_windows=arguments.batch_size,
        vae_batch_size=arguments.vae_batch_size,
        concurrent_stages=arguments.concurrent_stages,
        video_fps=getattr(arguments, "video_fps", DEFAULTS.video_fps),
        sync_mode=getattr(arguments, "sync_mode", DEFAULTS.sync_mode),
        silence=getattr(arguments, "silence", DEFAULTS.silence),
        crf=arguments.crf,
        face=getattr(arguments, "face", DEFAULTS.face),
        compare=getattr(arguments, "compare", DEFAULTS.compare),
        timeline=getattr(arguments, "timeline", DEFAULTS.timeline),
        max_yaw=getattr(arguments, "max_yaw", None),
        occluder=getattr(arguments, "occluder", None),
        exact=arguments.exact,
    )


def batch_size(text: str) -> int | None:
    """Parse a number of windows per batch, or ``auto``, which is None."""
    return None if text == "auto" else int(text)


def finite_number(text: str) -> float:
    """Parse a finite number of the command line."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value
