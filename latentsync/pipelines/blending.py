"""Blends the frames that neighbouring windows share, so that nothing jumps at a window's border."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor


class WindowBlender:
    """Takes windows in order and gives back each frame once no later window touches it.

    A frame that a later window paints again is mixed linearly: the new window's share grows over the shared frames.
    """

    def __init__(self) -> None:
        self._waiting: deque[Tensor] = deque()

    def add(self, window: Tensor, num_settled: int) -> Iterator[Tensor]:
        """Mixes a window in and yields the frames that are finished, oldest first.

        Args:
            window: (f, 3, h, w); its first frames are those still waiting from the windows before.
            num_settled: how many of the window's frames no later window touches.
        """
        num_shared = len(self._waiting)
        for i, frame in enumerate(window):
            if i < num_shared:
                share = (i + 1) / (num_shared + 1)
                self._waiting[i] = torch.lerp(self._waiting[i], frame, share)
            else:
                self._waiting.append(frame)
        for _ in range(num_settled):
            yield self._waiting.popleft()
