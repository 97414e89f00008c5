"""Find the cuts of a video, one frame at a time."""

import numpy as np
from scenedetect import ContentDetector, FrameTimecode

from latentsync.face.frames import shrink_frames

_LONGEST_SIDE = 256
_NOMINAL_FPS = 25.0
"""PySceneDetect requires timestamps; only their order matters here."""


class CutDetector:
    """PySceneDetect's content detector, one frame at a time.

    Its adaptive detector tolerates fast camera moves better, but its result comes two frames late. Here a false cut
    only starts a new window, while a missed cut mixes two faces.

    Args:
        threshold: mean change of hue, saturation and brightness (0-255) between two frames that counts as a cut.
    """

    def __init__(self, threshold: float = 27.0) -> None:
        self._detector = ContentDetector(threshold=threshold, min_scene_len=0)
        self._num_frames = 0

    def is_cut(self, frame: np.ndarray) -> bool:
        """Return True if this frame, uint8 RGB (h, w, 3), is the first of a new scene; False for the first frame."""
        small, _ = shrink_frames([frame], _LONGEST_SIDE)
        blue_green_red = np.ascontiguousarray(small[0].flip(0).permute(1, 2, 0).numpy())
        time = FrameTimecode(self._num_frames, _NOMINAL_FPS)
        self._num_frames += 1
        return bool(self._detector.process_frame(time, blue_green_red))
