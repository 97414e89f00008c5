"""Read frames of a clip by number, frame-exact, through decord.

No reader stays open between calls: opening one costs 3 ms of the 20 ms that a window takes, and memory does not grow
with the number of clips.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.errors import FileError, ToolError


def read_frames(path: Path, indices: Sequence[int], resolution: int) -> np.ndarray:
    """Return frames of a clip as (n, resolution, resolution, 3) uint8 RGB.

    Args:
        path: the clip; its frames are square.
        indices: frame numbers, in any order.
        resolution: side in pixels; frames of another size are resized (area to shrink, Lanczos to enlarge).

    Raises:
        FileError: the clip is missing, cannot be decoded or has fewer frames.
        ToolError: decord is missing.
    """
    with _open_decoder(path) as reader:
        if min(indices) < 0 or max(indices) >= len(reader):
            raise FileError.create(path, f"has {len(reader)} frames, not {max(indices) + 1}", "remove it from the list")
        frames = reader.get_batch(list(indices)).asnumpy()
    if frames.shape[1:3] == (resolution, resolution):
        return frames
    return np.stack([_resize(frame, resolution) for frame in frames])


def read_video_facts(path: Path) -> tuple[int, int, int, float]:
    """Return number of frames, width, height and average frames per second of a clip. Raises as `read_frames`."""
    with _open_decoder(path) as reader:
        height, width = reader[0].shape[:2]
        return len(reader), width, height, float(reader.get_avg_fps())


def model_pixels(frames: np.ndarray) -> np.ndarray:
    """Convert frames (f, h, w, 3) uint8 to (f, 3, h, w) float32 in [-1, 1]."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(1)


@contextmanager
def _open_decoder(path: Path) -> Iterator[Any]:
    """Open a decord.VideoReader; its errors, also those inside the block, are raised as FileError."""
    try:
        import decord
    except ImportError as error:
        raise ToolError(
            "decord is needed to read training clips: pip install decord (on a Mac: pip install eva-decord)"
        ) from error
    if path.is_file() and path.stat().st_size == 0:
        raise FileError.create(path, "is empty", "create it again, or remove it from the list")
    if not path.is_file():
        raise FileError.create(path, "is missing", "restore it, or remove it from the list")
    try:
        yield decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except (RuntimeError, decord.DECORDError) as error:
        raise FileError.create(path, "cannot be decoded", "check it, or remove it from the list") from error


def _resize(frame: np.ndarray, resolution: int) -> np.ndarray:
    method = cv2.INTER_AREA if frame.shape[0] > resolution else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(frame, (resolution, resolution), interpolation=method), dtype=np.uint8)
