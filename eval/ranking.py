"""The worst and the best videos of a figure, and what the pictures of a report show."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.metrics.metric import Figure
from eval.pairs import GROUND_TRUTH, SOURCE
from eval.results import Results, VideoRecord, badness, is_ranked

NUM_SHOWN = 5
CONTROLS = (GROUND_TRUTH, SOURCE)


@dataclass(frozen=True)
class Ranking:
    """The extremes of one figure in one row; the worst of `worst` comes first, and the best of `best`."""

    protocol: str
    row: str
    figure: Figure
    worst: list[VideoRecord]
    best: list[VideoRecord]


def rankings(results: Results, protocol: str) -> list[Ranking]:
    """One for each figure, not equal on all videos, of each row that is no control; no video is on both sides."""
    found = []
    for row in results.rows(protocol):
        if row in CONTROLS:
            continue
        for figure in results.figures().values():
            videos = [video for video in results.of(protocol, row) if figure.name in video.values]
            values = {badness(figure, video.values[figure.name]) for video in videos}
            if is_ranked(figure) and len(values) > 1:
                found.append(Ranking(protocol, row, figure, *extremes(figure, videos)))
    return found


def extremes(figure: Figure, videos: Sequence[VideoRecord]) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """The worst and the best five; of fewer than ten, half and half."""
    ordered = sorted(videos, key=lambda video: (-badness(figure, video.values[figure.name]), video.name))
    num_best = min(NUM_SHOWN, len(ordered) // 2)
    num_worst = min(NUM_SHOWN, len(ordered) - num_best)
    return ordered[:num_worst], ordered[::-1][:num_best]
