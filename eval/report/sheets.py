"""Contact sheets of judged videos: a strip of the face over time, the reference or source above the result."""

import logging
from pathlib import Path

import numpy as np
from PIL import Image

from eval.face_clips import FaceClips
from eval.metrics.metric import NotMeasured, Sample
from latentsync.errors import LatentSyncError
from latentsync.storage.atomic import atomic_write

logger = logging.getLogger(__name__)

NUM_COLUMNS = 8
TILE_WIDTH, TILE_HEIGHT = 72, 96
"""The shape of the aligned crop before it is squeezed to a square."""
_QUALITY = 85


def write_sheet(sample: Sample, clips: FaceClips, path: Path) -> bool:
    """Writes the sheet (JPEG) of a sample, whole; gives False where there is no face to be shown."""
    above = sample.source if sample.reference is None else sample.reference
    try:
        rows = [clips.crops(video, sample.source).crops for video in (above, sample.result)]
    except (NotMeasured, LatentSyncError) as error:
        logger.warning("no contact sheet of %s: %s", sample.name, error)
        return False
    length = min(len(row) for row in rows)
    if length == 0:
        return False
    chosen = np.linspace(0, length - 1, min(NUM_COLUMNS, length)).round().astype(int)
    sheet = Image.new("RGB", (TILE_WIDTH * len(chosen), TILE_HEIGHT * len(rows)))
    for row, crops in enumerate(rows):
        for column, frame in enumerate(chosen):
            tile = Image.fromarray(np.ascontiguousarray(crops[frame]))
            tile = tile.resize((TILE_WIDTH, TILE_HEIGHT), Image.Resampling.LANCZOS)
            sheet.paste(tile, (TILE_WIDTH * column, TILE_HEIGHT * row))
    with atomic_write(path) as beside:
        sheet.save(beside, "JPEG", quality=_QUALITY)
    return True
