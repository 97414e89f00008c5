"""Reference images of frames without speech: one image is held, so that the source's own mouth moves nothing.

The U-Net takes a reference image of every frame, by default the frame itself. With the demo weights a share of the
source's mouth motion passes from it to the result. In training the reference comes from another time of the clip, so
any earlier frame will do: the one with which the silence began has the pose and light of the frames that follow.
`python -m benchmarks.silence` measures the effect (docs/people.md).
"""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_HELD_FRAMES = 250
"""A held image is replaced after 10 s at 25 fps, the length of the longest training clips."""


class HeldReference:
    """Reference images for successive crops of one face interval.

    Args:
        is_silent: returns True for frames of the result without speech.
        max_frames: frames after which a held image is replaced by the current one.
    """

    def __init__(self, is_silent: Callable[[int], bool], max_frames: int = MAX_HELD_FRAMES) -> None:
        self._is_silent, self._max_frames = is_silent, max_frames
        self._held: Tensor | None = None
        self._num_held = 0

    def __call__(self, start: int, crops: Tensor) -> Tensor | None:
        """Return the reference image of each crop, or None if every crop is its own.

        Args:
            start: frame of the result that the first crop belongs to.
            crops: (n, 3, R, R) that follow those of the previous call.
        """
        references = [self._reference(start + i, crop) for i, crop in enumerate(crops)]
        if all(one is None for one in references):
            return None
        return torch.stack([crop if one is None else one for one, crop in zip(references, crops, strict=True)])

    def held_from(self, start: int, frame: int) -> int:
        """Return the frame whose crop is the reference image of a frame; reading may start there with equal results.

        Args:
            start: first frame of the interval.
            frame: a frame of the interval.
        """
        first = frame
        while first > start and self._is_silent(first) and self._is_silent(first - 1):
            first -= 1
        return frame - (frame - first) % self._max_frames

    def _reference(self, frame: int, crop: Tensor) -> Tensor | None:
        if not self._is_silent(frame):
            self._held = None
            return None
        if self._held is None or self._num_held == self._max_frames:
            self._held, self._num_held = crop.clone(), 0
        self._num_held += 1
        return self._held
