"""Measure StableSyncNet's confidence on clips in sync and with other speech, to choose the threshold of step 7.

Every clip is scored with its own audio and with that of another clip, at several lengths. Confidence is the maximum of
the similarity curve less its median; see `StableSyncScorer`.

Run: python -m benchmarks.sync_confidence --clips FOLDER [--num_clips 60] [--seconds 6 5 2.4]
         [--config configs/demo/syncnet.yaml] [--checkpoint checkpoints/demo/stable_syncnet.pt]
FOLDER holds aligned training clips, such as those of `python -m demo.synthetic dataset --out FOLDER`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser, run_command
from latentsync.data.clip_list import list_clips
from latentsync.device import resolve_device
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.reader import VideoReader
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT
from preprocess.steps.clip_files import FPS, SAMPLES_PER_FRAME


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return crops (n, h, w, 3) uint8 and samples (s,) of a clip."""
    with VideoReader(path) as frames, AudioSamples.decode(path) as sound:
        return np.stack(list(frames)), sound.read(0, sound.num_samples)


def score(scorer: SyncScorer, crops: np.ndarray, samples: np.ndarray, seconds: float) -> SyncScore:
    """Return the score of the first seconds of a clip."""
    num_frames = min(len(crops), len(samples) // SAMPLES_PER_FRAME, round(seconds * FPS))
    return scorer.score(crops[:num_frames], samples[: num_frames * SAMPLES_PER_FRAME])


def row(seconds: float, own: Sequence[SyncScore], other: Sequence[SyncScore]) -> str:
    """Return a row of the table."""
    sure = np.percentile([each.confidence for each in own], [0, 5, 50])
    unsure = np.percentile([each.confidence for each in other], [50, 95, 100])
    in_sync = np.mean([each.offset == 0 for each in own])
    return f"| {seconds:g} | {' | '.join(f'{value:.2f}' for value in [*sure, *unsure])} | {in_sync:.0%} |"


def main() -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--num_clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, nargs="+", default=[6.0, 5.0, 2.4])
    parser.add_argument("--config", type=Path, default=REPOSITORY_ROOT / "configs/demo/syncnet.yaml")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINTS / "demo" / "stable_syncnet.pt")
    options = parser.parse_args()
    return run_command(lambda: print_table(options))


def print_table(options: argparse.Namespace) -> int:
    """Score all clips and print the table."""
    scorer = load_stable_sync_scorer(options.config, options.checkpoint, resolve_device())
    clips = [read_clip(path) for path in list_clips(options.clips)[: options.num_clips]]
    print("| s | own: lowest | 5 % | median | other: median | 95 % | highest | own at offset 0 |")
    print("|---|---|---|---|---|---|---|---|")
    for seconds in options.seconds:
        own = [score(scorer, crops, samples, seconds) for crops, samples in clips]
        other = [score(scorer, clips[i - 1][0], clips[i][1], seconds) for i in range(len(clips))]
        print(row(seconds, own, other), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
