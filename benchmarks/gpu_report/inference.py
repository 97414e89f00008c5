"""Section: time and memory of generating windows, for each dtype and option."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial

import torch

from benchmarks.gpu_report.networks import NUM_FRAMES, random_codec, random_unet, unet_run
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.measurement import median_seconds, peak_memory_gib, reset_peak_memory
from latentsync.device import DTYPES, resolve_dtype
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.window_stages import Window, generate_crops

FPS = 25
DEEPCACHE_INTERVAL = 3
OVERLAP_FRAMES = 4


class RandomRows:
    """Random rows of Whisper features."""

    num_rows = 100

    def __init__(self, num_layers: int, width: int) -> None:
        self._rows = torch.randn(self.num_rows, num_layers + 1, width, generator=torch.Generator().manual_seed(0))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Return rows [start, stop) as (stop - start, layers + 1, width)."""
        return self._rows[start:stop]


class WindowTimer:
    """Generates windows with the published sizes; holds the networks of one dtype at a time."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._loaded: tuple[torch.dtype, UNet3DConditionModel, LatentCodec] | None = None

    def networks(self, dtype: torch.dtype) -> tuple[UNet3DConditionModel, LatentCodec]:
        """Return U-Net and codec in a dtype; those of another dtype are freed first."""
        if self._loaded is None or self._loaded[0] != dtype:
            self._loaded = None
            model = unet_run(self.setup.sizes, "stage2").model
            unet = random_unet(model, self.setup.device, dtype).requires_grad_(False)
            self._loaded = (dtype, unet, random_codec(self.setup, dtype))
        return self._loaded[1:]

    def measure(self, resolution: int, dtype: torch.dtype, options: LipsyncOptions) -> Values:
        """Measure time and memory of one batch of windows."""
        unet, codec = self.networks(dtype)
        reset_peak_memory(self.setup.device)  # creating the weights takes more memory than storing them
        synthesizer = WindowSynthesizer(unet, codec, resolution)
        dims = self.setup.sizes.weights.whisper
        features = RandomRows(dims["n_audio_layer"], dims["n_audio_state"])
        crops = torch.rand(NUM_FRAMES, 3, resolution, resolution) * 2 - 1
        windows = [Window(number, crops, 0, NUM_FRAMES) for number in range(options.batch_windows or 1)]

        def generate(options: LipsyncOptions = options) -> None:
            list(generate_crops(synthesizer, windows, features, Fraction(FPS), options))

        one_step = partial(generate, replace(options, num_inference_steps=1))
        seconds = median_seconds(generate, self.setup.device, self.setup.sizes.num_timed, warm_up=one_step)
        return times(seconds / len(windows)) | {"peak memory, GiB": peak_memory_gib(self.setup.device)}


def times(window_seconds: float) -> dict[str, float]:
    """Return the time of a window, and of one second of a long video with and without overlapping windows."""
    return {
        "s a window": window_seconds,
        "s a second of video": window_seconds * FPS / (NUM_FRAMES - OVERLAP_FRAMES),
        "without overlap": window_seconds * FPS / NUM_FRAMES,
    }


def cases(setup: Setup) -> Iterator[Case]:
    """Yield the defaults in each dtype, and each option in the device's default dtype."""
    timer = WindowTimer(setup)
    defaults = LipsyncOptions(num_inference_steps=setup.sizes.num_steps, overlap_frames=OVERLAP_FRAMES)
    automatic = resolve_dtype("auto", setup.device)
    options = {
        "DeepCache": replace(defaults, deepcache_interval=DEEPCACHE_INTERVAL),
        "2 windows at once": replace(defaults, batch_windows=2),
        "4 windows at once": replace(defaults, batch_windows=4),
        "guidance 1": replace(defaults, guidance_scale=1.0),
    }

    def case(resolution: int, format_name: str, label: str, chosen: LipsyncOptions) -> Case:
        dtype = DTYPES[format_name]
        return Case(f"{resolution} px, {format_name}, {label}", lambda: timer.measure(resolution, dtype, chosen))

    others = [name for name, dtype in DTYPES.items() if dtype != automatic]
    own = next(name for name, dtype in DTYPES.items() if dtype == automatic)
    for name in (own, *sorted(others, key=lambda name: name == "float32")):
        for resolution in setup.sizes.resolutions:
            yield case(resolution, name, "defaults", defaults)
            if name == own:
                for label, chosen in options.items():
                    yield case(resolution, name, label, chosen)


SECTION = Section(
    name="inference",
    title="Generating frames",
    note=(
        "Random weights; windows of 16 frames, 20 DDIM steps (2 at the tiny sizes) with guidance 1.5. VAE encoding, "
        "U-Net, VAE decoding and colour match are in the time; decoding the video, finding faces, pasting and encoding "
        "are not. A second of a long video is 25/12 windows with the default overlap of 4 frames, 25/16 without. "
        "Memory is what tensors took, weights included."
    ),
    share=4.0,
    cases=cases,
)
