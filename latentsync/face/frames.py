"""Frames as tensors, and at a reduced size for work that does not need every pixel (face detection, cuts)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F


def frame_tensor(frame: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return a frame as an (h, w, c) uint8 tensor that shares its memory; read-only or reversed arrays are copied."""
    if isinstance(frame, torch.Tensor):
        return frame
    shareable = frame.flags.writeable and min(frame.strides) > 0
    return torch.from_numpy(frame if shareable else frame.copy())


def reduced_size(width: int, height: int, longest_side: int) -> tuple[int, int]:
    """Return (w, h) of a frame whose longest side is reduced to `longest_side` pixels; smaller frames keep theirs."""
    scale = min(1.0, longest_side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrink_frames(frames: Sequence[np.ndarray], longest_side: int) -> tuple[torch.Tensor, np.ndarray]:
    """Shrink frames with antialiasing until the longest side fits; smaller frames keep their size.

    Args:
        frames: n uint8 RGB frames (h, w, 3) of one size.
        longest_side: in pixels.

    Returns:
        (n, 3, h', w') uint8 on the CPU, and (2,) float32 factors in x and y from reduced to original pixels.
    """
    height, width = frames[0].shape[:2]
    size = reduced_size(width, height, longest_side)[::-1]
    images = (frame_tensor(frame).permute(2, 0, 1)[None] for frame in frames)
    small = [F.interpolate(image, size, mode="bilinear", antialias=True) for image in images]
    return torch.cat(small), np.array([width / size[1], height / size[0]], dtype=np.float32)
