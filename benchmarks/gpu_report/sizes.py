"""Sizes of the networks in the report: the published sizes, or tiny ones for a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.weight_sizes import PUBLISHED, TINY, WeightSizes


@dataclass(frozen=True)
class Sizes:
    """Sizes of networks, inputs and measurements.

    Attributes:
        name: name on the command line.
        weights: sizes of U-Net, VAE and audio encoder.
        overrides: `key=value` changes of configs/unet/*.yaml for these sizes, except the resolution.
        resolutions: side lengths of the face crop in pixels.
        syncnet: configuration of the SyncNet, relative to the repository.
        videomae: differences from the published `VideoMaeSize` of TREPA.
        parity_frames: number of input frames of U-Net and VAE in the comparison with the CPU.
        num_steps: denoising steps.
        num_timed: number of timed calls.
        matmul_side: size of the square matrices whose product is timed.
        training_configs: configs/unet/*.yaml whose training step is measured.
        demo_clips, demo_batch, demo_steps: clips, batch size and steps of the demo training; stage 2 has a third of the
            steps.
    """

    name: str
    weights: WeightSizes
    overrides: tuple[str, ...]
    resolutions: tuple[int, ...]
    syncnet: str
    videomae: Mapping[str, int]
    parity_frames: int
    num_steps: int
    num_timed: int
    matmul_side: int
    training_configs: tuple[str, ...]
    demo_clips: int
    demo_batch: int
    demo_steps: int


def _as_overrides(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"model.{key}={value}" for key, value in values.items())


SIZES = {
    "published": Sizes(
        name="published",
        weights=PUBLISHED,
        overrides=(),
        resolutions=(256, 512),
        syncnet="configs/syncnet/syncnet_16_pixel_attn.yaml",
        videomae={},
        parity_frames=4,
        num_steps=20,
        num_timed=5,
        matmul_side=8192,
        training_configs=("stage1", "stage2", "stage2_efficient", "stage1_512", "stage2_512"),
        demo_clips=8,
        demo_batch=8,
        demo_steps=60,
    ),
    "tiny": Sizes(
        name="tiny",
        weights=TINY,
        overrides=_as_overrides(TINY.unet),
        resolutions=(64,),
        syncnet="configs/demo/syncnet.yaml",
        videomae={"image_size": 28, "width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32},
        parity_frames=2,
        num_steps=2,
        num_timed=1,
        matmul_side=64,
        training_configs=("stage1", "stage2", "stage2_efficient"),
        demo_clips=2,
        demo_batch=2,
        demo_steps=6,
    ),
}
