"""The audio tokens a video frame listens to: ten Whisper rows around its time, all layers of each."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from latentsync.audio.whisper_features import ROWS_PER_SECOND

ROWS_BEFORE = 4
ROWS_AFTER = 5
"""Frame i at F frames a second looks at rows int(50 i / F) - 4 ... int(50 i / F) + 5."""
ROWS_PER_FRAME = ROWS_BEFORE + 1 + ROWS_AFTER


class FeatureRows(Protocol):
    """Anything that serves feature rows by number, such as WhisperFeatures."""

    num_rows: int

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) as (stop - start, layers+1, width)."""
        ...


def frame_rows(frame_index: int, fps: Fraction | float, num_rows: int) -> list[int]:
    """The ten row numbers of a frame, clamped at both ends of the sound."""
    centre = int(ROWS_PER_SECOND * frame_index / Fraction(fps))
    return [min(max(row, 0), num_rows - 1) for row in range(centre - ROWS_BEFORE, centre + ROWS_AFTER + 1)]


def frame_tokens(features: FeatureRows, frame_indices: Sequence[int], fps: Fraction | float) -> Tensor:
    """Tokens of the given video frames as (f, 10 * (layers+1), width): row by row, the layers of a row together."""
    frames = []
    for frame_index in frame_indices:
        numbers = frame_rows(frame_index, fps, features.num_rows)
        rows = features.rows(numbers[0], numbers[-1] + 1)
        frames.append(rows[torch.tensor(numbers, device=rows.device) - numbers[0]].flatten(0, 1))
    return torch.stack(frames)
