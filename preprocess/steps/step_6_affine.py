"""Step 6: align the face of every frame to the template; write a square clip with the unchanged audio."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces, invert
from latentsync.face.face_plan import smooth_anchors
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from preprocess.steps.clip_files import FPS
from preprocess.steps.single_face import read_single_face

_BATCH_FRAMES = 8
_GRID = 64
"""Points along each side of the crop for which `outside_shares` tests whether they lie inside the frame."""


@dataclass(frozen=True)
class AffineConfig:
    """Settings of step 6.

    Attributes:
        resolution: side of the aligned clips in pixels, even.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        max_outside: maximum share of the crop that may lie outside the frame (it is grey there), in any frame.
    """

    resolution: int = 256
    crf: int = 10
    max_outside: float = 0.1

    def __post_init__(self) -> None:
        if self.resolution < 2 or self.resolution % 2:
            raise ValueError(f"resolution {self.resolution} cannot be used: give an even number of pixels")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf {self.crf} is out of range: use 0 (lossless) to 51")
        if not 0 <= self.max_outside <= 1:
            raise ValueError(f"max_outside {self.max_outside} is out of range: use 0 to 1")


@dataclass(frozen=True)
class AffineStep(CpuStep):
    """Aligns the face found by step 5 as inference does: anchors smoothed over the clip, then the published template.

    Nothing is detected, and no state is carried from clip to clip. It runs on the CPU, so that all machines give equal
    pixels. Facts: `num_frames`.
    """

    number: ClassVar[int] = 6
    name: ClassVar[str] = "affine"
    folder: ClassVar[str | None] = "affine_transformed"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "face_outside": "in some frame more than max_outside of the aligned crop lies outside the frame",
    }

    config: AffineConfig = field(default_factory=AffineConfig)

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the result for one clip, whose facts name the sidecar `faces`; memory holds a few frames.

        Raises:
            InputError: the clip, its audio or its face track cannot be read, or their lengths differ.
        """
        config = self.config
        face = read_single_face(str(clip.facts["faces"]))
        matrices = alignment_matrices(smooth_anchors(face.anchors, FPS), config.resolution)
        output, side = work / "aligned.mp4", config.resolution
        reader = VideoReader(clip.path)
        outside = outside_shares(matrices, side, reader.info.width, reader.info.height)
        worst = int(np.argmax(outside))
        if outside[worst] > config.max_outside:
            return Rejected("face_outside", f"{outside[worst]:.1%} of the crop is outside the frame at frame {worst}")
        with reader as frames, VideoWriter(output, side, side, Fraction(FPS), config.crf, clip.path) as video:
            for crop in _align(frames, matrices, side):
                video.write(crop)
            if reader.num_read != len(face):
                raise InputError(f"{clip.path} has not the {len(face)} frames of its face track: run step 5 again")
        return Done((Output(output, facts={"num_frames": len(face)}),))


def outside_shares(matrices: np.ndarray, resolution: int, width: int, height: int) -> np.ndarray:
    """Return (n,) shares, 0 to 1, of the square crop that lie outside a frame of width x height pixels.

    Args:
        matrices: (n, 2, 3) affine matrices from frame to crop.
        resolution: side of the crop in pixels.
        width, height: size of the frame in pixels.
    """
    places = (np.arange(_GRID) + 0.5) * resolution / _GRID - 0.5
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    shares = np.empty(len(matrices))
    for i, matrix in enumerate(matrices):
        to_frame = invert(matrix)
        points = grid @ to_frame[:, :2].T + to_frame[:, 2]
        inside = (points >= -0.5).all(axis=1) & (points < [width - 0.5, height - 0.5]).all(axis=1)
        shares[i] = 1 - inside.mean()
    return shares


def _align(frames: Iterable[np.ndarray], matrices: np.ndarray, resolution: int) -> Iterator[np.ndarray]:
    """Yield aligned crops, uint8 RGB, of the frames that have a matrix."""
    iterator, start = iter(frames), 0
    while batch := list(islice(iterator, _BATCH_FRAMES)):
        known = matrices[start : start + len(batch)]
        crops = crop_faces(batch[: len(known)], known, resolution)
        yield from ((crops + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        start += len(batch)
