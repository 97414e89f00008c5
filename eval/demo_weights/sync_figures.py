"""How well the demo SyncNet tells sound that belongs to a picture from other sound of the same clip."""

import numpy as np

from eval.demo_weights.setup import Evaluation
from latentsync.judges.stable_sync_scorer import (
    StableSyncScorer,
    load_stable_sync_scorer,
    score_similarities,
    similarity_curve,
)

NEAREST_NEGATIVE = 3
"""Frames by which a negative's sound begins earlier or later, at least."""

THRESHOLD = 0.5


def load_scorer(evaluation: Evaluation) -> StableSyncScorer:
    """Load the demo SyncNet as a scorer."""
    return load_stable_sync_scorer(evaluation.syncnet_config, evaluation.weights / "stable_syncnet.pt")


def measure_syncnet(evaluation: Evaluation) -> dict[str, float]:
    """Accuracy on every window of every clip, and the share of clips whose best offset is 0.

    `hit` is the share of windows that accept their own sound, `reject` that of all pairs of a window and other sound of
    the clip, 3 frames away at least, that are refused; `accuracy` is their mean, at threshold 0.5 and at the best one.
    """
    scorer = load_scorer(evaluation)
    own, other, offsets = [], [], []
    for clip in evaluation.clips:
        similarities = scorer.similarities(clip.crops, clip.speech())
        starts = np.arange(len(similarities))
        own.append(np.diagonal(similarities))
        other.append(similarities[np.abs(starts[:, None] - starts) >= NEAREST_NEGATIVE])
        offsets.append(score_similarities(similarity_curve(similarities)).offset)
    positives, negatives = np.sort(np.concatenate(own)), np.sort(np.concatenate(other))
    hit, reject = shares(positives, negatives, THRESHOLD)
    thresholds = np.linspace(0.01, 0.99, 99)
    accuracies = [sum(shares(positives, negatives, threshold)) / 2 for threshold in thresholds]
    return {
        "accuracy": (hit + reject) / 2,
        "hit": hit,
        "reject": reject,
        "best_accuracy": float(max(accuracies)),
        "best_threshold": float(thresholds[int(np.argmax(accuracies))]),
        "offset_0": float(np.mean(np.array(offsets) == 0)),
        "worst_offset": float(np.abs(offsets).max()),
        "num_clips": len(offsets),
    }


def shares(positives: np.ndarray, negatives: np.ndarray, threshold: float) -> tuple[float, float]:
    """Share of the positives above a threshold, and of the negatives not above it; both sorted."""
    above = 1 - np.searchsorted(positives, threshold, side="right") / len(positives)
    return float(above), float(np.searchsorted(negatives, threshold, side="right") / len(negatives))
