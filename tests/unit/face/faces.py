"""Scripted detections for the tests of this package."""

from collections.abc import Sequence

import numpy as np

from latentsync.face.detection import Detection

FRAME_SIZE = (640, 480)


def detection(x, y, side=100.0):
    """Return a detection whose box is centred on (x, y)."""
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], dtype=np.float32)
    anchors = np.array([[x - 0.2 * side, y], [x + 0.2 * side, y], [x, y + 0.2 * side]], dtype=np.float32)
    return Detection(box, 0.9, anchors)


class ScriptedDetector:
    """Return the detections of a list, frame by frame, whatever the frames show."""

    def __init__(self, script: Sequence[Sequence[Detection]]) -> None:
        self._script, self._next = script, 0
        self.batches: list[int] = []

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        start, self._next = self._next, self._next + len(frames)
        self.batches.append(len(frames))
        return [list(faces) for faces in self._script[start : self._next]]
