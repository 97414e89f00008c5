"""Memory of video frames, used again: fresh memory for every frame would fragment that of the process."""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray


class FrameBuffers:
    """Frames whose memory is used again once neither the frame nor a view or tensor of it is left.

    There are as many buffers as frames were in use at the same time. All methods may be called from several threads.
    """

    def __init__(self) -> None:
        self._free: dict[int, deque[bytearray]] = {}

    def new(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return a frame (height, width, 3) uint8 of any content."""
        size = height * width * 3
        free = self._free.setdefault(size, deque())
        try:
            buffer = free.pop()
        except IndexError:
            buffer = bytearray(size)
        frame = np.ndarray((height, width, 3), np.uint8, buffer=buffer)
        # numpy keeps the array that a view was made from alive if its memory belongs to another object, as here
        weakref.finalize(frame, free.append, buffer).atexit = False
        return frame

    def copy(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of a frame."""
        result = self.new(*frame.shape[:2])
        np.copyto(result, frame)
        return result
