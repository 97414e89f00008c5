"""Section: a U-Net step with compiled blocks, without channels-last layout, and with each attention back end."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from time import perf_counter
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu_report.networks import NUM_FRAMES, audio_tokens, random_unet, unet_run
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.measurement import median_seconds, peak_memory_gib, reset_peak_memory, synchronize
from latentsync.device import resolve_dtype
from latentsync.models.compilation import compile_blocks
from latentsync.models.cpu_inference import plain_layers
from latentsync.models.unet import UNet3DConditionModel

_GUIDED = 2
"""Windows per step: without and with audio."""
_DEFAULTS, _CONTIGUOUS, _COMPILED = "defaults", "no channels-last", "compiled"
_ATTENTION = {"flash": SDPBackend.FLASH_ATTENTION, "plain": SDPBackend.MATH}
_CUDA_ATTENTION = {"memory-efficient": SDPBackend.EFFICIENT_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}


class SettingTimer:
    """Times the same step with each setting and compares its result with that of the defaults."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.dtype = setup, resolve_dtype("auto", setup.device)
        self._expected = cache(lambda resolution: self._predict(self.network(_DEFAULTS), resolution))

    def network(self, setting: str) -> UNet3DConditionModel:
        """Build the U-Net, always with the same weights."""
        model = unet_run(self.setup.sizes, "stage2").model
        unet = random_unet(model, self.setup.device, self.dtype).requires_grad_(False)
        if setting == _CONTIGUOUS:
            unet.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
            unet.conv_in.register_forward_pre_hook(lambda module, inputs: inputs[0].contiguous())
        if setting == _COMPILED:
            compile_blocks(unet, self.setup.sizes.compile_backend)
        return unet

    @torch.no_grad()
    def measure(self, resolution: int, setting: str, attention: SDPBackend | None = None) -> Values:
        """Measure one setting; a back end that does not support these layers is reported as such."""
        expected = self._expected(resolution)
        unet = self.network(setting)
        reset_peak_memory(self.setup.device)  # creating the weights takes more memory than storing them
        context: AbstractContextManager[Any] = nullcontext() if attention is None else sdpa_kernel(attention)
        try:
            with context:
                start = perf_counter()
                actual = self._predict(unet, resolution)
                synchronize(self.setup.device)
                first = perf_counter() - start
                seconds = median_seconds(
                    lambda: self._predict(unet, resolution), self.setup.device, self.setup.sizes.num_timed
                )
        except RuntimeError as error:
            if "No available kernel" not in str(error):
                raise
            return {"s a step": "not supported"}
        return {
            "s a step": seconds,
            "first step, s": first,
            "relative difference": float((actual - expected).norm() / expected.norm()),
            "peak memory, GiB": peak_memory_gib(self.setup.device),
        }

    @torch.no_grad()
    def _predict(self, unet: UNet3DConditionModel, resolution: int) -> torch.Tensor:
        size, device = resolution // 8, self.setup.device
        generator = torch.Generator().manual_seed(0)
        sample = torch.randn(_GUIDED, 13, NUM_FRAMES, size, size, generator=generator).to(device, self.dtype)
        with plain_layers():
            return unet(sample, 500, audio_tokens(self.setup.sizes, _GUIDED).to(device, self.dtype)).float()


def cases(setup: Setup) -> Iterator[Case]:
    """Yield every setting at each resolution in the device's default dtype."""
    timer = SettingTimer(setup)
    attention = _ATTENTION | (_CUDA_ATTENTION if setup.device.type == "cuda" else {})
    for resolution in setup.sizes.resolutions:
        for setting in (_DEFAULTS, _CONTIGUOUS, _COMPILED):
            yield Case(
                f"{resolution} px, {setting}",
                lambda resolution=resolution, setting=setting: timer.measure(resolution, setting),
            )
        for name, backend in attention.items():
            yield Case(
                f"{resolution} px, {name} attention",
                lambda resolution=resolution, backend=backend: timer.measure(resolution, _DEFAULTS, backend),
            )


SECTION = Section(
    name="unet_settings",
    title="Settings of the U-Net",
    note=(
        "One denoising step of one window of 16 frames with guidance, stage 2, in the device's default format; the "
        "audio's keys and values are computed in it. The first step includes compilation. The difference is relative "
        "to the defaults: channels-last layout, and the attention that torch chooses."
    ),
    share=2.0,
    cases=cases,
)
