"""The stages between aligned crops and generated crops: encode, denoise, blend and decode, window by window.

Neighbouring windows share frames. The U-Net processes those in both windows; the VAE encodes and decodes every frame
once: the latents of shared frames are kept for the next window, and windows are blended as latents, before decoding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.whisper_features import FeatureRows
from latentsync.device import StageStream
from latentsync.device_memory import fitting_batch_size
from latentsync.pipelines.options import MAX_AUTO_WINDOWS, LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.windows import WindowBlender


class JobFrame(NamedTuple):
    """A frame on its way through the pipeline.

    Attributes:
        index: index in the source.
        source: (h, w, 3) uint8.
        result: the source with the mouths that are generated so far.
        matrices: (2, 3) from frame to crop of each person whose mouth was generated.
        occluder: (h, w) uint8, 255 where something is in front of the faces; None if there are no masks.
    """

    index: int
    source: np.ndarray
    result: np.ndarray
    matrices: tuple[np.ndarray, ...] = ()
    occluder: np.ndarray | None = None


@dataclass(frozen=True)
class Window:
    """Successive frames that the U-Net processes together.

    Attributes:
        start: index of the first frame in the result.
        crops: (n, 3, R, R) in [-1, 1]: aligned crops of the frames that no earlier window contains, which are the last.
        num_shared: number of leading frames that earlier windows contain too.
        num_settled: number of leading frames that no later window contains.
        references: (n, 3, R, R) in [-1, 1]: reference images of the crops, or None for the crops themselves.
        conditioning: (f, 1 + 2 L, h, w) constant channels of the U-Net, once encoded.
        latents: (f, L, h, w) generated latents, once denoised.
        is_generated: False for a window that is only encoded, for the windows that share its frames (`segments`).
    """

    start: int
    crops: Tensor
    num_shared: int
    num_settled: int
    references: Tensor | None = None
    conditioning: Tensor | None = None
    latents: Tensor | None = None
    is_generated: bool = True

    def __len__(self) -> int:
        return self.num_shared + len(self.crops)


@dataclass(frozen=True)
class Chunk:
    """Frames that pass through the stages of the pipeline together: a window with the face, or a frame without it.

    Attributes:
        frames: frames that no earlier chunk contains.
        window: the window that ends with these frames; None without the face.
        matrices: (n, 2, 3) from frame to crop, one for each frame.
        generated: (m, 3, R, R) generated crops of the frames that this window settles, once decoded.
    """

    frames: list[JobFrame]
    window: Window | None = None
    matrices: np.ndarray | None = None
    generated: Tensor | None = None


def encode_windows(synthesizer: WindowSynthesizer, chunks: Iterable[Chunk], options: LipsyncOptions) -> Iterator[Chunk]:
    """Encode every crop once; the latents of shared frames are those of the previous window."""
    previous: Tensor | None = None
    stream = StageStream(synthesizer.device, options.concurrent_stages)
    for chunk in chunks:
        if (window := chunk.window) is None:
            yield chunk
            continue
        with stream():
            conditioning = synthesizer.encode(window.crops, window.start, options, window.references)
            if previous is not None and window.num_shared > 0:
                conditioning = torch.cat((previous[-window.num_shared :], conditioning))
        previous = conditioning
        yield replace(chunk, window=replace(window, conditioning=conditioning) if window.is_generated else None)


def denoise_windows(
    synthesizer: WindowSynthesizer,
    chunks: Iterable[Chunk],
    features: FeatureRows,
    fps: Fraction,
    options: LipsyncOptions,
    progress: Callable[[float], None] = lambda num_frames: None,
) -> Iterator[Chunk]:
    """Generate the latents of encoded windows, `batch_windows` of them per forward pass.

    If that is None, the memory that the first window takes decides.

    Args:
        synthesizer: the networks.
        chunks: from `encode_windows`.
        features: Whisper feature rows of the whole driving audio.
        fps: frames per second of the result.
        options: options of the job.
        progress: receives the number of finished frames after each denoising step; may raise to stop.
    """
    stream = StageStream(synthesizer.device, options.concurrent_stages)
    limit = BatchLimit(options.batch_windows)
    for batch in batch_chunks(chunks, limit):
        windows = [chunk.window for chunk in batch if chunk.window is not None]
        if not windows:
            yield from batch
            continue
        num_settled = sum(window.num_settled for window in windows)
        first = windows[0].start
        with stream():
            latents = synthesizer.denoise(
                torch.stack([window.conditioning for window in windows if window.conditioning is not None]),
                [window.start for window in windows],
                features,
                fps,
                options,
                lambda fraction, first=first, num_settled=num_settled: progress(first + fraction * num_settled),
            )
        if limit.num_windows is None:
            limit.num_windows = fitting_batch_size(synthesizer.device, MAX_AUTO_WINDOWS)
        for chunk, window, result in zip(batch, windows, latents, strict=True):
            yield replace(chunk, window=replace(window, conditioning=None, latents=result))


def decode_windows(synthesizer: WindowSynthesizer, chunks: Iterable[Chunk], options: LipsyncOptions) -> Iterator[Chunk]:
    """Blend the latents of overlapping windows, then decode every frame once, when no later window changes it.

    Frames that the first window shares with windows that are not generated are decoded with the others, so that batches
    and thus roundings are those of a whole job, and dropped.
    """
    blender = WindowBlender()
    stream = StageStream(synthesizer.device, options.concurrent_stages)
    pending: deque[Tensor | None] = deque()  # None for frames to drop
    for chunk in chunks:
        if (window := chunk.window) is None or window.latents is None:
            yield chunk
            continue
        pending.extend([None] * (window.num_shared - len(pending)))
        pending.extend(window.crops)
        with stream():
            latents = torch.stack(list(blender.add(window.latents, window.num_settled)))
            settled = [pending.popleft() for _ in latents]
            crops = torch.stack([window.crops[0] if crop is None else crop for crop in settled])
            generated = synthesizer.decode(latents, crops, options)[settled.count(None) :]
        yield replace(chunk, window=None, generated=generated)


def generate_crops(
    synthesizer: WindowSynthesizer,
    windows: Iterable[Window],
    features: FeatureRows,
    fps: Fraction,
    options: LipsyncOptions,
) -> Iterator[Tensor]:
    """Yield the generated crops (m, 3, R, R) that each window settles; all stages run in this thread."""
    encoded = encode_windows(synthesizer, (Chunk([], window) for window in windows), options)
    denoised = denoise_windows(synthesizer, encoded, features, fps, options)
    for chunk in decode_windows(synthesizer, denoised, options):
        assert chunk.generated is not None
        yield chunk.generated


@dataclass
class BatchLimit:
    """Largest number of windows per batch; None, until the first window has been measured, counts as 1."""

    num_windows: int | None


def batch_chunks(chunks: Iterable[Chunk], limit: BatchLimit) -> Iterator[list[Chunk]]:
    """Group successive windows of equal length up to a limit; a chunk without a window stays alone."""
    batch: list[Chunk] = []
    for chunk in chunks:
        if batch and not _have_equal_lengths(batch[0].window, chunk.window):
            yield batch
            batch = []
        batch.append(chunk)
        if len(batch) >= (limit.num_windows or 1):
            yield batch
            batch = []
    if batch:
        yield batch


def _have_equal_lengths(first: Window | None, second: Window | None) -> bool:
    return first is not None and second is not None and len(first) == len(second)
