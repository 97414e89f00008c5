"""The sidecar in which step 5 leaves the face of a clip, so that later steps detect nothing again."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.errors import InputError

_ROW_SHAPES = {"boxes": (4,), "anchors": (3, 2), "scores": (), "detected": ()}
_DTYPES = {"boxes": np.float32, "anchors": np.float32, "scores": np.float32, "detected": np.bool_}


@dataclass(frozen=True)
class ClipFace:
    """The one face of a clip in each of its n frames, gaps interpolated.

    Attributes:
        boxes: (n, 4) float32 x0, y0, x1, y1 in pixels of the clip.
        anchors: (n, 3, 2) float32 left brow, right brow, nose in pixels of the clip, as detected, not smoothed.
        scores: (n,) float32 how sure the detector was, 0 to 1; 0 where the face was not found.
        detected: (n,) bool where it was found.
    """

    boxes: np.ndarray
    anchors: np.ndarray
    scores: np.ndarray
    detected: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


def write_face_track(path: Path, face: ClipFace) -> None:
    """Writes an npz, the same bytes for the same face.

    Raises:
        ValueError: an array has another shape than `ClipFace` says.
    """
    arrays = {name: np.asarray(getattr(face, name), dtype=dtype) for name, dtype in _DTYPES.items()}
    _check_shapes(arrays)
    # not compressed, and NumPy stamps the members with no time: nothing in the file differs between runs and machines
    np.savez(
        path,
        boxes=arrays["boxes"],
        anchors=arrays["anchors"],
        scores=arrays["scores"],
        detected=arrays["detected"],
    )


def read_face_track(path: Path | str) -> ClipFace:
    """Reads what `write_face_track` wrote.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ROW_SHAPES}
        _check_shapes(arrays)
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a face track that can be read: run step 5 again") from error
    return ClipFace(**{name: array.astype(_DTYPES[name], copy=False) for name, array in arrays.items()})


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    num_frames = len(arrays["boxes"])
    for name, row_shape in _ROW_SHAPES.items():
        if arrays[name].shape != (num_frames, *row_shape):
            raise ValueError(f"{name} of a face track has shape {arrays[name].shape}, not {(num_frames, *row_shape)}")
