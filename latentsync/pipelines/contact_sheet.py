"""A picture of evenly spaced frames, source above result, to judge a run at a glance."""

from pathlib import Path

import numpy as np
from PIL import Image

from latentsync.atomic import written_whole

NUM_COLUMNS = 8
TILE_HEIGHT = 320


class ContactSheet:
    """Collects a few frames of a run, reduced in size, and writes them as one PNG.

    Args:
        num_frames: length of the result; the columns are spread evenly over it.
    """

    def __init__(self, num_frames: int) -> None:
        columns = min(NUM_COLUMNS, num_frames)
        self._wanted = {int((column + 0.5) * num_frames / columns) for column in range(columns)}
        self._tiles: list[Image.Image] = []

    def add(self, index: int, source: np.ndarray, result: np.ndarray) -> None:
        """Offers frame ``index``, both (h, w, 3) uint8; it is kept when it is one of the columns."""
        if index not in self._wanted:
            return
        height, width = source.shape[:2]
        size = (max(1, round(width * TILE_HEIGHT / height)), TILE_HEIGHT)
        tile = Image.new("RGB", (size[0], 2 * TILE_HEIGHT))
        for row, frame in enumerate((source, result)):
            tile.paste(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS), (0, row * TILE_HEIGHT))
        self._tiles.append(tile)

    def write(self, path: Path) -> None:
        """Writes the sheet beside ``path`` and then moves it there."""
        sheet = Image.new("RGB", (sum(tile.width for tile in self._tiles), 2 * TILE_HEIGHT))
        left = 0
        for tile in self._tiles:
            sheet.paste(tile, (left, 0))
            left += tile.width
        with written_whole(path) as beside:
            sheet.save(beside, "PNG")
