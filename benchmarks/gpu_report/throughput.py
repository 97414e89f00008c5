"""Section: arithmetic rate of a U-Net step compared with that of a matrix product."""

from collections.abc import Iterator
from functools import cache, lru_cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_report.networks import NUM_FRAMES, audio_tokens, random_unet, unet_run
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.measurement import median_seconds, peak_memory_gib, reset_peak_memory
from latentsync.device import DTYPES
from latentsync.models.unet import UNet3DConditionModel

_TERA = 1e12
_GUIDED = 2
"""Windows per step: without and with audio."""


def cases(setup: Setup) -> Iterator[Case]:
    """Yield for each dtype a matrix product and the U-Net at each resolution."""
    model = unet_run(setup.sizes, "stage2").model
    unet = lru_cache(maxsize=1)(lambda dtype: random_unet(model, setup.device, dtype).requires_grad_(False))
    rate = cache(lambda dtype: matmul_rate(setup, dtype))
    work = cache(lambda resolution: unet_flops(setup, resolution) / _TERA)
    for name in ("bfloat16", "float16", "float32"):
        dtype = DTYPES[name]
        yield Case(f"matrix product, {name}", lambda dtype=dtype: {"TFLOP/s": rate(dtype)})
        for resolution in setup.sizes.resolutions:
            yield Case(
                f"U-Net step, {resolution} px, {name}",
                lambda dtype=dtype, resolution=resolution: unet_rate(
                    setup, unet(dtype), resolution, work(resolution), rate(dtype)
                ),
            )


def matmul_rate(setup: Setup, dtype: torch.dtype) -> float:
    """Return the TFLOP/s of a product of two large square matrices."""
    side = setup.sizes.matmul_side
    first, second = (torch.randn(side, side, device=setup.device).to(dtype) for _ in range(2))
    seconds = median_seconds(lambda: first @ second, setup.device, setup.sizes.num_timed)
    return 2 * side**3 / seconds / _TERA


@torch.inference_mode()
def unet_rate(setup: Setup, unet: UNet3DConditionModel, resolution: int, work: float, matrix_rate: float) -> Values:
    """Return time and rate of one step of one window with guidance.

    Args:
        setup: sizes and device.
        unet: the network in the measured dtype.
        resolution: side of the face crop in pixels.
        work: operations of the step, in TFLOP.
        matrix_rate: rate of the matrix product in the same dtype, in TFLOP/s.
    """
    size, dtype = resolution // 8, unet.dtype
    reset_peak_memory(setup.device)  # creating the weights takes more memory than storing them
    sample = torch.randn(_GUIDED, 13, NUM_FRAMES, size, size, device=setup.device).to(dtype)
    audio = unet.prepare_audio(audio_tokens(setup.sizes, _GUIDED).to(setup.device, dtype))
    seconds = median_seconds(lambda: unet(sample, 500, audio), setup.device, setup.sizes.num_timed)
    return {
        "s a step": seconds,
        "TFLOP": work,
        "TFLOP/s": work / seconds,
        "of the matrix product": work / seconds / matrix_rate,
        "peak memory, GiB": peak_memory_gib(setup.device),
    }


@torch.no_grad()
def unet_flops(setup: Setup, resolution: int) -> int:
    """Count the operations of one step on the meta device: two per multiply-add, plain attention."""
    size, meta = resolution // 8, torch.device("meta")
    with meta:
        unet = UNet3DConditionModel.from_unet_config(unet_run(setup.sizes, "stage2").model)
    sample = torch.empty(_GUIDED, 13, NUM_FRAMES, size, size, device=meta)
    audio = unet.prepare_audio(audio_tokens(setup.sizes, _GUIDED).to(meta))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(sample, 500, audio)
    return counter.get_total_flops()


SECTION = Section(
    name="throughput",
    title="The U-Net against the device's matrix rate",
    note=(
        "One denoising step of one window of 16 frames with guidance (two windows in a batch), stage 2. TFLOP is "
        "counted by torch.utils.flop_counter on plain attention; the audio's keys and values are precomputed. The "
        "matrix product is of large square matrices. On CUDA float32 convolutions use TF32 by default, float32 matrix "
        "products do not, so the last column may exceed 1."
    ),
    share=1.5,
    cases=cases,
)
