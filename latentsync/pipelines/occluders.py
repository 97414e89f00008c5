"""Things in front of the faces of a job: masks that the user gives, or that XSeg finds."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentsync.media.occluder_masks import OccluderMasks, check_masks, open_masks
from latentsync.media.probe import VideoInfo
from latentsync.pipelines.report import OCCLUDED

if TYPE_CHECKING:  # these import torch, which --help does without
    import torch

    from latentsync.face.xseg import XSegOccluder
    from latentsync.pipelines.people import Person
    from latentsync.pipelines.window_stages import JobFrame

AUTO = "auto"
"""Option value with which XSeg finds the things."""

_SMALLEST_SHARE = 0.01
"""Share of the generated region behind a thing from which the report lists the frame."""


def check_occluder(occluder: str | None, video: VideoInfo, fps: Fraction) -> OccluderMasks | None:
    """Return the masks that the user gave, or None.

    Args:
        occluder: a mask video, a folder of masks, `AUTO`, or None.
        video: the source video.
        fps: frames per second at which it is read.

    Raises:
        InputError: the masks cannot be used, or do not fit the video.
        CheckpointError: XSeg is not installed, or its weights are missing.
    """
    if occluder is None:
        return None
    if occluder == AUTO:
        from latentsync.face.xseg import require_xseg

        require_xseg()
        return None
    masks = open_masks(Path(occluder))
    check_masks(masks, video, fps)
    return masks


class FaceOccluders:
    """Things in front of the face of one person in successive frames of one interval.

    Args:
        xseg: finds them, in addition to the masks of the frames; or None.
        person: whose note `OCCLUDED` receives the frames with something in front of the mouth.
    """

    def __init__(self, xseg: XSegOccluder | None, person: Person) -> None:
        from latentsync.face.occlusion import OcclusionFiller  # imports torch, which --help does without

        self._xseg, self._person = xseg, person
        self._filler = OcclusionFiller()

    def find(self, frames: list[JobFrame]) -> list[JobFrame]:
        """Return the frames with what XSeg finds in their masks."""
        if self._xseg is None:
            return frames
        anchors, found = self._person.plan.anchors, []
        for frame in frames:
            mask = self._xseg.mask(frame.source, anchors[frame.index])
            found.append(frame._replace(occluder=mask if frame.occluder is None else np.maximum(mask, frame.occluder)))
        return found

    def remove(self, crops: torch.Tensor, frames: Sequence[JobFrame], matrices: np.ndarray) -> torch.Tensor:
        """Return the crops (n, 3, R, R) without the things in front of the face.

        Args:
            crops: crops of the frames, in [-1, 1].
            frames: the next n frames.
            matrices: (n, 2, 3) frame to crop.
        """
        from latentsync.face.occlusion import hidden_share

        masks = [frame.occluder for frame in frames if frame.occluder is not None]
        if not masks:
            return crops
        for frame, mask, matrix in zip(frames, masks, matrices, strict=True):
            if hidden_share(mask, matrix, crops.shape[-1]) >= _SMALLEST_SHARE:
                self._person.notes[OCCLUDED][frame.index] = True
        return self._filler.fill(crops, masks, matrices)
