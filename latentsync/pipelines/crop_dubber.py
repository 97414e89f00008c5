"""Lip-sync aligned crops in memory, without video files and face detection; for validation and evaluation."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import torch

from latentsync.audio.whisper_features import FeatureRows
from latentsync.face.mask import blend_mask
from latentsync.pipelines.held_reference import HeldReference
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.window_stages import Window, generate_crops
from latentsync.pipelines.windows import plan_windows


class CropDubber:
    """Generate crops with the windows, colours and soft edge of `LipsyncPipeline`.

    Args:
        synthesizer: U-Net and VAE.
        num_frames: frames of one window.
        fps: frames per second.
        options: steps, guidance, overlap, seed and windows per batch.
    """

    def __init__(self, synthesizer: WindowSynthesizer, num_frames: int, fps: int, options: LipsyncOptions) -> None:
        self._synthesizer = synthesizer
        self._num_frames, self._fps, self._options = num_frames, Fraction(fps), options

    @torch.inference_mode()
    def __call__(
        self,
        crops: np.ndarray,
        features: FeatureRows,
        progress: Callable[[int], None] = lambda done: None,
        is_silent: Callable[[int], bool] | None = None,
    ) -> np.ndarray:
        """Return the generated crops (f, R, R, 3) uint8.

        Args:
            crops: (f, R, R, 3) uint8 aligned crops.
            features: Whisper feature rows of the driving audio.
            progress: receives the number of finished frames after every window; an exception ends the work.
            is_silent: returns True for frames whose reference image is held, see `HeldReference`; None holds none.
        """
        images = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        windows = self._windows(images, None if is_silent is None else HeldReference(is_silent))
        generated = generate_crops(self._synthesizer, windows, features, self._fps, self._options)
        parts: list[torch.Tensor] = []
        for settled in generated:
            parts.append(settled.cpu())
            progress(sum(map(len, parts)))
        blended = torch.cat(parts)
        if not self._options.exact:
            blended = torch.lerp(images, blended, blend_mask(images.shape[-1]))
        return ((blended.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()

    def _windows(self, images: torch.Tensor, held: HeldReference | None) -> Iterator[Window]:
        num_read = 0
        for span in plan_windows(len(images), self._num_frames, self._options.overlap_frames, self._options.exact):
            new = images[num_read : span.stop]
            references = None if held is None else held(num_read, new)
            yield Window(span.start, new, num_read - span.start, span.settled - span.start, references)
            num_read = span.stop
