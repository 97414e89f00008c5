"""How well the judge of mouths, `mouth_reader.pt`, reads ground truth it has not seen."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from latentsync.demo_training.clip_set import Clip
from latentsync.demo_training.figures.image_measures import correlation
from latentsync.demo_training.figures.setup import Evaluation
from latentsync.demo_training.mouth_reader import load_mouth_reader, read_mouth


def measure_mouth_reader(evaluation: Evaluation) -> dict[str, float]:
    """The figures of the weights to be judged."""
    reader = load_mouth_reader(evaluation.weights / "mouth_reader.pt")
    return reading_figures(reader, evaluation.clips)


def reading_figures(reader: nn.Module, clips: Sequence[Clip]) -> dict[str, float]:
    """Correlation of what is read with the truth, over all frames together and for the worst clip."""
    read = [read_mouth(reader, clip.crops) for clip in clips]
    truth = [clip.frames_track for clip in clips]
    per_clip = [correlation(seen[:, 0], real[:, 0]) for seen, real in zip(read, truth, strict=True)]
    together = [correlation(np.concatenate(read)[:, i], np.concatenate(truth)[:, i]) for i in range(2)]
    return {
        "opening": together[0],
        "width": together[1],
        "opening_worst_clip": min(per_clip),
        "num_clips": len(per_clip),
    }
