"""Write training clips: aligned face crops with speech, near lossless and cheap to read window by window."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.media.ffmpeg_tools import raw_video_input
from latentsync.media.transcode import BT709_TAGS, encode_frames, rgb_to_bt709

_CRF = 6
_KEY_FRAMES = 25


def write_training_clip(
    crops: Iterable[NDArray[np.uint8]], resolution: int, audio: Path, path: Path, fps: Fraction | int = 25
) -> None:
    """Write crops (R, R, 3) uint8 RGB and an audio file as a training clip, atomically.

    H.264 4:4:4, near lossless: at 128 px, 4:2:0 stays at 36 to 40 dB at any bit rate, 4:4:4 reaches 44 to 46 dB with
    340 kB for 6 s. A key frame every second makes reading a window cheap. The audio is lossless (ALAC).

    Args:
        crops: frame by frame.
        resolution: their side R in pixels.
        audio: the audio, as long as the crops.
        path: the clip, .mp4.
        fps: frames per second.

    Raises:
        ToolError: ffmpeg is missing or fails.
    """
    options = {
        "vcodec": "libx264", "crf": _CRF, "g": _KEY_FRAMES, "threads": 1, "pix_fmt": "yuv444p", **BT709_TAGS,
    }  # fmt: skip
    video = rgb_to_bt709(raw_video_input(resolution, resolution, fps))
    encode_frames(crops, video, audio, path, movflags="+faststart", acodec="alac", **options)
