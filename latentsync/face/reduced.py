"""Frames at a reduced size for work that does not need every pixel, such as finding faces and cuts."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.frame_tensor import frame_tensor


def reduced_frames(frames: Sequence[np.ndarray], longest_side: int) -> tuple[torch.Tensor, np.ndarray]:
    """Frames shrunk without aliasing so that the longest side fits; smaller frames stay as they are.

    Args:
        frames: n uint8 RGB frames (h, w, 3) of one size.
        longest_side: in pixels.

    Returns:
        (n, 3, h', w') uint8 on the CPU, and (2,) the factors in x and y that lead back to frame pixels.
    """
    height, width = frames[0].shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    images = (frame_tensor(frame).permute(2, 0, 1)[None] for frame in frames)
    small = [F.interpolate(image, size, mode="bilinear", antialias=True) for image in images]
    return torch.cat(small), np.array([width / size[1], height / size[0]], dtype=np.float32)
