"""A picture of rows of aligned crops, to compare them at a glance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from latentsync.storage.atomic import atomic_write


def write_crop_sheet(rows: Sequence[np.ndarray], path: Path, tile: int = 192) -> None:
    """Writes rows of crops, each (n, h, w, 3) uint8 with the same n, as one PNG that appears whole.

    Args:
        rows: top to bottom.
        path: the PNG; its folder is made.
        tile: side of a crop in the picture, in pixels.
    """
    picture = Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    size = (tile * len(rows[0]), tile * len(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        picture.resize(size, Image.Resampling.LANCZOS).save(beside, "PNG")
