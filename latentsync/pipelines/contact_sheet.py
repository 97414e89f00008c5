"""PNG contact sheets: frames of source and result, or rows of aligned crops, side by side."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from latentsync.face.align import covered_box, invert
from latentsync.media.writer import MADE_BY
from latentsync.storage.atomic import atomic_write

NUM_COLUMNS = 8
TILE_WIDTH, TILE_HEIGHT = 192, 256
"""Size of a tile in pixels; its 3:4 shape is that of the aligned crop before it is scaled to a square."""
MARGIN_RATIO = 0.1
"""Margin shown around the aligned crop, relative to the side of the crop."""


class ContactSheet:
    """Collect evenly spaced frames, cropped around the face, and write them as one PNG: source above result.

    Args:
        num_frames: length of the result in frames.
        resolution: side of the aligned crop in pixels.
    """

    def __init__(self, num_frames: int, resolution: int) -> None:
        columns = min(NUM_COLUMNS, num_frames)
        self._columns = {int((column + 0.5) * num_frames / columns): column for column in range(columns)}
        self._resolution = resolution
        self._tiles: list[Image.Image] = []

    def add(self, index: int, source: np.ndarray, result: np.ndarray, matrices: Sequence[np.ndarray]) -> None:
        """Add frame `index` if it is one of the columns.

        Args:
            index: frame number in the result.
            source, result: (h, w, 3) uint8.
            matrices: (2, 3) frame to crop, one for each generated face; they are shown in turn. A frame without a face
                is shown in full.
        """
        if (column := self._columns.get(index)) is None:
            return
        matrix = matrices[column % len(matrices)] if matrices else None
        rows, columns = self._visible_region(source.shape, matrix)
        tile = Image.new("RGB", (TILE_WIDTH, 2 * TILE_HEIGHT))
        for row, frame in enumerate((source, result)):
            region = Image.fromarray(np.ascontiguousarray(frame[rows, columns]))
            resize = ImageOps.pad if matrix is None else ImageOps.fit
            tile.paste(resize(region, (TILE_WIDTH, TILE_HEIGHT), Image.Resampling.LANCZOS), (0, row * TILE_HEIGHT))
        self._tiles.append(tile)

    def write(self, path: Path) -> None:
        """Write the tiles atomically; no file if there are none, as in a short segment of the result."""
        if self._tiles:
            _write_row(self._tiles, path)

    def _visible_region(self, shape: tuple[int, ...], matrix: np.ndarray | None) -> tuple[slice, slice]:
        """Return the rows and columns of the frame around the face, or the whole frame."""
        height, width = shape[:2]
        if matrix is None:
            return slice(None), slice(None)
        to_frame = invert(matrix)
        margin = int(MARGIN_RATIO * self._resolution * np.sqrt(abs(np.linalg.det(to_frame[:, :2]))))
        box = covered_box(to_frame, self._resolution, self._resolution, width, height, margin)
        if box is None:
            return slice(None), slice(None)
        left, top, right, bottom = box
        return slice(top, bottom), slice(left, right)


def join_sheets(sheets: Sequence[Path], path: Path) -> None:
    """Write the sheets of segments side by side into one, atomically."""
    with ExitStack() as stack:
        _write_row([stack.enter_context(Image.open(sheet)) for sheet in sheets], path)


def _write_row(images: Sequence[Image.Image], path: Path) -> None:
    """Write images side by side as one PNG of this program."""
    sheet = Image.new("RGB", (sum(image.width for image in images), 2 * TILE_HEIGHT))
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    note = PngInfo()
    note.add_text("Software", MADE_BY)
    with atomic_write(path) as beside:
        sheet.save(beside, "PNG", pnginfo=note)


def write_crop_sheet(rows: Sequence[np.ndarray], path: Path, tile: int = 192) -> None:
    """Write rows of crops as one PNG, atomically.

    Args:
        rows: from top to bottom, each (n, h, w, 3) uint8 with the same n.
        path: the PNG; missing parent folders are created.
        tile: side of a crop in the sheet, in pixels.
    """
    sheet = Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    size = (tile * len(rows[0]), tile * len(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        sheet.resize(size, Image.Resampling.LANCZOS).save(beside, "PNG")
