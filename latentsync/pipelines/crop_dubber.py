"""Lip-sync aligned crops in memory, without video files and face detection; for validation and evaluation."""

from fractions import Fraction

import numpy as np
import torch

from latentsync.audio.whisper_features import FeatureRows
from latentsync.face.mask import blend_mask
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import Window, WindowSynthesizer
from latentsync.pipelines.windows import WindowBlender, plan_windows


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
    def __call__(self, crops: np.ndarray, features: FeatureRows) -> np.ndarray:
        """Return the generated crops (f, R, R, 3) uint8.

        Args:
            crops: (f, R, R, 3) uint8 aligned crops.
            features: Whisper feature rows of the driving audio.
        """
        images = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        spans = list(plan_windows(len(crops), self._num_frames, self._options.overlap_frames, self._options.exact))
        blender = WindowBlender()
        generated = []
        for first in range(0, len(spans), self._options.batch_windows):
            batch = spans[first : first + self._options.batch_windows]
            windows = [Window(span.start, images[span.start : span.stop]) for span in batch]
            results = self._synthesizer(windows, features, self._fps, self._options, lambda fraction: None)
            for span, result in zip(batch, results, strict=True):
                generated += blender.add(result.cpu(), span.settled - span.start)
        blended = torch.stack(generated)
        if not self._options.exact:
            blended = torch.lerp(images, blended, blend_mask(images.shape[-1]))
        return ((blended.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
