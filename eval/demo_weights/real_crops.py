"""Aligned crops of real videos, found as the pipeline finds them."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector
from latentsync.media.reader import VideoReader
from latentsync.weights import AUXILIARY

FRAMES_PER_VIDEO = 8
_SPACING = 14
_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")


def find_videos(folder: Path) -> list[Path]:
    """The videos of a folder by name; InputError when there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _VIDEO_SUFFIXES)
    if not found:
        raise InputError(f"{folder}: holds no videos; name a folder of real talking people, or leave --real out")
    return found


def real_crops(folder: Path, resolution: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each video's name and up to 8 aligned crops (n, R, R, 3) uint8 of its clearest face, half a second apart."""
    detector = build_detector("auto", "cpu", AUXILIARY)
    for video in find_videos(folder):
        crops = [crop for frame in _frames(video) if (crop := _crop(frame, detector, resolution)) is not None]
        if not crops:
            raise InputError(f"{video}: no face found in its first seconds; take it out of the folder")
        yield video.stem, np.stack(crops)


def _frames(video: Path) -> Iterator[np.ndarray]:
    with VideoReader(video, Fraction(25)) as reader:
        for index, frame in enumerate(reader):
            if index % _SPACING == 0:
                yield frame
            if index >= _SPACING * (FRAMES_PER_VIDEO - 1):
                return


def _crop(frame: np.ndarray, detector: FaceDetector, resolution: int) -> np.ndarray | None:
    faces = detector.detect([frame])[0]
    if not faces:
        return None
    matrices = alignment_matrices(faces[0].anchors[None], resolution)
    crop = crop_faces([frame], matrices, resolution)[0]
    return ((crop + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
