"""Find things in front of a face with XSeg, a face segmentation network of the optional package uniface."""

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.errors import CheckpointError
from latentsync.face.align import invert

_CROP_SIDE = 256
"""Side in pixels of the network's crop, in the alignment of uniface's recognition networks."""

_IS_FACE = 0.5

_INNER_CENTRE, _INNER_AXES = (128, 152), (58, 74)
"""Ellipse (x, y) in the crop from below the eyes to the chin: it shows only the face and what is before it."""

_SMALLEST_SHARE = 0.01
"""Share of that ellipse from which something in it counts as an occluder."""

_OR_A_MASK = "or name a mask video or a folder of masks with --occluder"


class XSegOccluder:
    """Masks of what is in front of a face: connected areas that XSeg does not count as face and that reach into it.

    Raises:
        CheckpointError: uniface or the weights are missing; nothing is downloaded.
    """

    def __init__(self) -> None:
        require_xseg()
        self._parser: Any = importlib.import_module("uniface.parsing").XSeg(align_size=_CROP_SIDE)
        template = importlib.import_module("uniface.face_utils").reference_alignment[:3]  # eyes and nose, of 112 pixels
        self._template = np.asarray(template, dtype=np.float64) * (_CROP_SIDE / 128) + (_CROP_SIDE / 16, 0)
        inner = np.zeros((_CROP_SIDE, _CROP_SIDE), dtype=np.uint8)
        self._inner = cv2.ellipse(inner, _INNER_CENTRE, _INNER_AXES, 0, 0, 360, 1, -1) > 0

    def mask(self, frame: NDArray[np.uint8], anchors: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return (h, w) 255 where something is in front of the face, else 0.

        Args:
            frame: (h, w, 3) RGB.
            anchors: (3, 2) left brow, right brow, nose in pixels.
        """
        matrix = _similarity(_eyes_and_nose(anchors), self._template)
        crop = cv2.warpAffine(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), matrix, (_CROP_SIDE, _CROP_SIDE))
        in_front = self._occluders(np.asarray(self._parser.parse_aligned(crop)) < _IS_FACE)
        size = (frame.shape[1], frame.shape[0])
        return np.asarray(cv2.warpAffine(in_front, invert(matrix), size, flags=cv2.INTER_NEAREST), dtype=np.uint8)

    def _occluders(self, not_face: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return 255 for the connected areas of `not_face` (h, w) that reach into the face; the background does not."""
        _, labels = cv2.connectedComponents(not_face.astype(np.uint8))
        sizes = np.bincount(labels[self._inner & not_face], minlength=int(labels.max()) + 1)
        reaching = sizes >= _SMALLEST_SHARE * self._inner.sum()
        return np.where(reaching[labels] & not_face, 255, 0).astype(np.uint8)


def require_xseg() -> Path:
    """Return the path of XSeg's weights.

    Raises:
        CheckpointError: uniface is not installed, or its weights are missing or damaged.
    """
    try:
        constants = importlib.import_module("uniface.constants")
        store = importlib.import_module("uniface.model_store")
    except ImportError as error:
        raise CheckpointError(
            f"--occluder auto requires the package uniface: pip install --editable '.[occluder]', {_OR_A_MASK}"
        ) from error
    weights = constants.XSegWeights.DEFAULT
    path = Path(store.get_cache_dir()) / f"{weights.value}.onnx"
    remedy = f"python -c 'from uniface import XSeg; XSeg()' downloads them, {_OR_A_MASK}"
    if not path.is_file():
        raise CheckpointError(f"--occluder auto requires XSeg's weights {path}: {remedy}")
    if not store.verify_file_hash(str(path), constants.MODEL_REGISTRY[weights].sha256):
        raise CheckpointError(f"XSeg's weights {path} are damaged: {remedy}")
    return path


def _eyes_and_nose(anchors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (3, 2) left eye, right eye, nose: the inverse of `mtcnn.anchors_from_five`."""
    left, right, nose = np.asarray(anchors, dtype=np.float64)
    across = (right - left) / 1.18
    up = np.array([across[1], -across[0]])
    return np.stack([left + 0.09 * across - 0.32 * up, right - 0.09 * across - 0.32 * up, nose - 0.03 * up])


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2, 3) least-squares rotation, scale and shift from points (n, 2) to others."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    start, end = source - middle, target - aim
    size = (start**2).sum()
    cosine = (start * end).sum() / size
    sine = (start[:, 0] * end[:, 1] - start[:, 1] * end[:, 0]).sum() / size
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, aim - linear @ middle])
