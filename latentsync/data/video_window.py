"""Frames of a clip by number, exactly, through decord.

Nothing is kept open between calls: opening a reader costs 3 ms of the 20 ms that a window takes, and memory does not
grow with the number of clips.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.errors import InputError, ToolError


def read_frames(path: Path, indices: Sequence[int], resolution: int) -> np.ndarray:
    """Frames of a clip as (n, resolution, resolution, 3) uint8 RGB.

    Args:
        path: the clip; its picture is a square.
        indices: numbers of the frames, in any order.
        resolution: side in pixels; frames of another size are resized (area when shrinking, else Lanczos).

    Raises:
        InputError: the clip is not there, cannot be decoded or has not so many frames.
        ToolError: decord is missing.
    """
    with _decoder(path) as reader:
        if min(indices) < 0 or max(indices) >= len(reader):
            raise InputError(f"{path} has {len(reader)} frames, not {max(indices) + 1}: take it off the list")
        frames = reader.get_batch(list(indices)).asnumpy()
    if frames.shape[1:3] == (resolution, resolution):
        return frames
    return np.stack([_resized(frame, resolution) for frame in frames])


def picture_facts(path: Path) -> tuple[int, int, int, float]:
    """Number of frames, width, height and average frames per second of a clip. Raises as `read_frames`."""
    with _decoder(path) as reader:
        height, width = reader[0].shape[:2]
        return len(reader), width, height, float(reader.get_avg_fps())


@contextmanager
def _decoder(path: Path) -> Iterator[Any]:
    """A decord.VideoReader; its errors, within the block too, become one line that names the clip."""
    try:
        import decord
    except ImportError as error:
        raise ToolError(
            "decord is needed to read training clips: pip install decord (on a Mac: pip install eva-decord)"
        ) from error
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty: make it again, or take it off the list")
    if not path.is_file():
        raise InputError(f"{path} is not there any more: put it back, or take it off the list")
    try:
        yield decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except (RuntimeError, decord.DECORDError) as error:
        raise InputError(f"{path} cannot be decoded: check it, or take it off the list") from error


def _resized(frame: np.ndarray, resolution: int) -> np.ndarray:
    shrinks = frame.shape[0] > resolution
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(frame, (resolution, resolution), interpolation=method), dtype=np.uint8)
