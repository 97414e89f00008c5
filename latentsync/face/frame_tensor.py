"""A frame as a tensor without a warning and, where it can be, without a copy."""

import numpy as np
import torch


def frame_tensor(frame: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(h, w, c) uint8 tensor of a frame; shares its memory, except that read-only or reversed arrays are copied."""
    if isinstance(frame, torch.Tensor):
        return frame
    shareable = frame.flags.writeable and min(frame.strides) > 0
    return torch.from_numpy(frame if shareable else frame.copy())
