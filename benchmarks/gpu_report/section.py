"""Sections of the report, their cases and results, and the sizes at which they are measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.weight_sizes import PUBLISHED, TINY, WeightSizes

MEASURED, FAILED, NOT_MEASURED = "measured", "failed", "not measured"

Values = Mapping[str, Any]
"""Values of a case by column."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of networks, inputs and measurements.

    Attributes:
        name: name on the command line.
        weights: sizes of U-Net, VAE and audio encoder.
        overrides: corresponding `key=value` overrides of configs/unet/*.yaml, without the resolution.
        resolutions: sides of the face crop, in pixels.
        syncnet: configuration of the SyncNet, relative to the repository.
        videomae: values that differ from the published `VideoMaeSize` of TREPA.
        parity_frames: frames of the U-Net's and the VAE's input in the comparison with the CPU.
        num_steps: denoising steps.
        num_timed: repetitions of a timed call.
        compile_backend: back end of torch.compile; the tiny sizes use one that needs no compiler.
        matmul_side: side of the square matrices whose product is timed.
        training_configs: names of configs/unet/*.yaml whose training step is measured.
        demo_clips, demo_batch, demo_steps: sizes of the demo training; stage 2 takes a third of the steps.
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
    compile_backend: str
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
        compile_backend="inductor",
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
        compile_backend="eager",
        matmul_side=64,
        training_configs=("stage1", "stage2", "stage2_efficient"),
        demo_clips=2,
        demo_batch=2,
        demo_steps=6,
    ),
}


@dataclass(frozen=True)
class Setup:
    """Settings common to all sections."""

    sizes: Sizes
    device: torch.device


@dataclass(frozen=True)
class Case:
    """One row of a section.

    Attributes:
        name: first cell of the row.
        run: measures the case; any exception marks it as failed.
    """

    name: str
    run: Callable[[], Values]


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Attributes:
        name: name on the command line.
        title: heading.
        note: explanation of the columns.
        share: share of the time budget, relative to the other sections.
        cases: yields the cases; cheap, since they are measured by their `run`.
    """

    name: str
    title: str
    note: str
    share: float
    cases: Callable[[Setup], Iterator[Case]]


@dataclass(frozen=True)
class Row:
    """Result of a case.

    Attributes:
        case: name of the case.
        status: `MEASURED`, `FAILED` or `NOT_MEASURED`.
        values: values by column.
        reason: one line if there are no values.
    """

    case: str
    status: str
    values: Values = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SectionResult:
    """All rows of a section and their total time."""

    section: Section
    rows: list[Row]
    seconds: float

    @property
    def num_failed(self) -> int:
        """Number of failed cases."""
        return sum(row.status == FAILED for row in self.rows)
