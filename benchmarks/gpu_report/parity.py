"""Section: deviation of every network on the device from the same network on the CPU in float32."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.gpu_report.networks import (
    CPU,
    MEL_BANDS,
    MEL_COLUMNS,
    NUM_FRAMES,
    audio_tokens,
    random_lpips,
    random_syncnet,
    random_unet,
    random_vae,
    random_videomae,
    random_whisper,
    unet_run,
)
from benchmarks.gpu_report.section import Case, Section, Setup, Values
from benchmarks.random_weights import random_network
from latentsync.audio.whisper_model import CHUNK_FRAMES, WhisperEncoder
from latentsync.device import DTYPES
from latentsync.judges.hyperiqa import IMAGE_SIZE, HyperIqa
from latentsync.judges.syncnet_v2 import LIP_SIZE, NUM_COEFFICIENTS, NUM_LIP_FRAMES, NUM_MFCC_COLUMNS, SyncNetV2
from latentsync.judges.videomae import VideoMaeSize
from latentsync.models.syncnet_input import read_syncnet_config
from latentsync.models.vae import LatentCodec
from latentsync.weights import REPOSITORY_ROOT

REDUCED_FLOAT32 = "float32, with PyTorch's defaults"
"""On CUDA devices: convolutions in TF32."""


@dataclass(frozen=True)
class Subject:
    """A network to compare.

    Attributes:
        name: name of the row.
        build: builds the network in float32 on the CPU.
        inputs: returns float32 tensors on the CPU.
        call: maps network and inputs to one output.
        is_always_float32: True if the program computes it in float32 on every device.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    call: Callable[..., Tensor]
    is_always_float32: bool = False


def cases(setup: Setup) -> Iterator[Case]:
    """Yield every network in every dtype in which the program may compute it."""
    formats = [*DTYPES] if setup.device == CPU else ["float32", REDUCED_FLOAT32, *list(DTYPES)[1:]]
    for subject in subjects(setup):
        comparison = Comparison(subject, setup.device)
        for name in formats:
            if subject.is_always_float32 and not name.startswith("float32"):
                continue
            yield Case(f"{subject.name}, {name}", lambda comparison=comparison, name=name: comparison.error(name))
        comparison.free()


class Comparison:
    """Compares one network's output in several dtypes with one reference."""

    def __init__(self, subject: Subject, device: torch.device) -> None:
        self.subject, self.device = subject, device
        self._network = cache(subject.build)
        self._reference = cache(self._computed)

    def _computed(self) -> Tensor:
        return run_network(self.subject, self._network(), CPU, torch.float32)

    def error(self, name: str) -> Values:
        """Return the relative error of the whole output in a dtype; raise ValueError if it is not finite."""
        reference = self._reference()
        dtype = DTYPES[name.split(",")[0]]
        with without_tf32() if name == "float32" else nullcontext():
            output = run_network(self.subject, converted(self._network(), self.device, dtype), self.device, dtype)
        if not bool(output.isfinite().all()):
            raise ValueError("the output is not finite")
        error = float((output - reference).norm() / reference.norm())
        return {"relative error": error, "numbers compared": output.numel()}

    def free(self) -> None:
        """Free the network."""
        self._network.cache_clear()
        self._reference.cache_clear()


@torch.inference_mode()
def run_network(subject: Subject, network: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the output in float32 on the CPU."""
    inputs = [tensor.to(device, dtype) for tensor in subject.inputs()]
    return subject.call(network, *inputs).float().cpu()


def converted(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of the network as inference uses it: the audio encoder keeps float32 weights."""
    network = copy.deepcopy(network)
    if isinstance(network, WhisperEncoder):
        network.dtype = dtype
        return network.to(device)
    return nn.Module.to(network, device=device, dtype=dtype)


def without_tf32() -> AbstractContextManager[None]:
    """Return a context in which float32 convolutions are computed in float32 on every device."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def subjects(setup: Setup) -> Iterator[Subject]:
    """Yield every network of the repository that may run on an accelerator."""
    yield from _unets(setup)
    yield from _vae_halves(setup)
    yield Subject(
        "Whisper encoder, all layers",
        lambda: random_whisper(setup.sizes),
        lambda: (_random(0, 1, MEL_BANDS, CHUNK_FRAMES),),
        lambda network, mel: network(mel),
    )
    yield from _frozen_networks(setup)


def _unets(setup: Setup) -> Iterator[Subject]:
    sizes = setup.sizes
    size, frames = sizes.resolutions[0] // 8, sizes.parity_frames
    for stage in ("stage1", "stage2"):
        config = unet_run(sizes, stage).model
        yield Subject(
            f"U-Net, {stage}",
            lambda config=config: random_unet(config, CPU),
            lambda: (_random(0, 1, 13, frames, size, size), audio_tokens(sizes, 1)[:, :frames]),
            lambda network, sample, audio: network(sample, 500, audio),
        )


def _vae_halves(setup: Setup) -> Iterator[Subject]:
    side, frames = setup.sizes.resolutions[0], setup.sizes.parity_frames
    yield Subject(
        "VAE encoder",
        lambda: random_vae(setup.sizes, CPU),
        lambda: (_random(0, frames, 3, side, side).clamp(-1, 1),),
        lambda network, images: LatentCodec(network).encode(images),
    )
    yield Subject(
        "VAE decoder",
        lambda: random_vae(setup.sizes, CPU),
        lambda: (_random(0, frames, 4, side // 8, side // 8),),
        lambda network, latents: LatentCodec(network).decode(latents),
    )


def _frozen_networks(setup: Setup) -> Iterator[Subject]:
    sizes = setup.sizes
    syncnet_input = read_syncnet_config(REPOSITORY_ROOT / sizes.syncnet)[1]
    frames = (3 * syncnet_input.num_frames, syncnet_input.resolution // 2, syncnet_input.resolution)
    image, side = VideoMaeSize(**sizes.videomae).image_size, sizes.resolutions[0]
    yield Subject(
        "SyncNet, video and audio",
        lambda: random_syncnet(sizes)[0],
        lambda: (_random(0, 1, *frames), _random(1, 1, 1, MEL_BANDS, MEL_COLUMNS)),
        lambda network, video, mel: torch.cat(network(video, mel)),
    )
    yield Subject(
        "VideoMAE (TREPA)",
        lambda: random_videomae(sizes),
        lambda: (_random(0, 1, NUM_FRAMES, 3, image, image).clamp(-1, 1),),
        lambda network, video: network(video),
    )
    yield Subject(
        "LPIPS",
        random_lpips,
        lambda: (_random(0, 2, 3, side // 2, side).clamp(-1, 1), _random(1, 2, 3, side // 2, side).clamp(-1, 1)),
        lambda network, images, targets: network(images, targets),
        is_always_float32=True,
    )
    yield Subject(
        "SyncNet-v2, lips",
        lambda: random_network(SyncNetV2),
        lambda: (110 + 60 * _random(0, NUM_LIP_FRAMES, 3, LIP_SIZE, LIP_SIZE),),
        lambda network, lips: network.embed_lips(lips),
        is_always_float32=True,
    )
    yield Subject(
        "SyncNet-v2, audio",
        lambda: random_network(SyncNetV2),
        lambda: (10 * _random(0, 2, 1, NUM_COEFFICIENTS, NUM_MFCC_COLUMNS),),
        lambda network, mfcc: network.embed_audio(mfcc),
        is_always_float32=True,
    )
    yield Subject(
        "hyperIQA",
        lambda: random_network(HyperIqa),
        lambda: (_random(0, 2, 3, IMAGE_SIZE, IMAGE_SIZE),),
        lambda network, images: network(images),
        is_always_float32=True,
    )


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SECTION = Section(
    name="parity",
    title="Agreement with the CPU in float32",
    note=(
        "Random weights and inputs. Relative error of the whole output: norm of the difference over the norm of the "
        "CPU's float32 output. LPIPS, SyncNet-v2 and hyperIQA are always computed in float32."
    ),
    share=2.0,
    cases=cases,
)
