"""A picture of evenly spaced frames, source above result, to judge a run at a glance."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from latentsync.face.align import covered_box, invert
from latentsync.media.writer import MADE_BY
from latentsync.storage.atomic import atomic_write

NUM_COLUMNS = 8
TILE_WIDTH, TILE_HEIGHT = 192, 256
"""The shape of the aligned crop before it is squeezed to a square."""
MARGIN_SHARE = 0.1
"""What is shown around the aligned crop, as a share of the crop's side."""


class ContactSheet:
    """Collects a few frames of a run, cut out around the face, and writes them as one PNG.

    Args:
        num_frames: length of the result; the columns are spread evenly over it.
        resolution: side of the aligned crop, in its own pixels.
    """

    def __init__(self, num_frames: int, resolution: int) -> None:
        columns = min(NUM_COLUMNS, num_frames)
        self._wanted = {int((column + 0.5) * num_frames / columns) for column in range(columns)}
        self._resolution = resolution
        self._tiles: list[Image.Image] = []

    def add(self, index: int, source: np.ndarray, result: np.ndarray, matrix: np.ndarray | None) -> None:
        """Offers frame ``index``; it is kept when it is one of the columns.

        Args:
            index: place in the result.
            source, result: (h, w, 3) uint8.
            matrix: (2, 3) frame to crop; None where the frame was left alone, which is then shown whole.
        """
        if index not in self._wanted:
            return
        rows, columns = self._shown(source.shape, matrix)
        tile = Image.new("RGB", (TILE_WIDTH, 2 * TILE_HEIGHT))
        for row, frame in enumerate((source, result)):
            cut = Image.fromarray(np.ascontiguousarray(frame[rows, columns]))
            shape = ImageOps.pad if matrix is None else ImageOps.fit
            tile.paste(shape(cut, (TILE_WIDTH, TILE_HEIGHT), Image.Resampling.LANCZOS), (0, row * TILE_HEIGHT))
        self._tiles.append(tile)

    def write(self, path: Path) -> None:
        """Writes the sheet; it appears whole or not at all."""
        sheet = Image.new("RGB", (TILE_WIDTH * len(self._tiles), 2 * TILE_HEIGHT))
        for column, tile in enumerate(self._tiles):
            sheet.paste(tile, (TILE_WIDTH * column, 0))
        note = PngInfo()
        note.add_text("Software", MADE_BY)
        with atomic_write(path) as beside:
            sheet.save(beside, "PNG", pnginfo=note)

    def _shown(self, shape: tuple[int, ...], matrix: np.ndarray | None) -> tuple[slice, slice]:
        """Rows and columns of the frame that are shown."""
        height, width = shape[:2]
        if matrix is None:
            return slice(None), slice(None)
        to_frame = invert(matrix)
        margin = int(MARGIN_SHARE * self._resolution * np.sqrt(abs(np.linalg.det(to_frame[:, :2]))))
        box = covered_box(to_frame, self._resolution, self._resolution, width, height, margin)
        if box is None:
            return slice(None), slice(None)
        left, top, right, bottom = box
        return slice(top, bottom), slice(left, right)
