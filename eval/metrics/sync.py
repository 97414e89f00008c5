"""LSE-C, LSE-D and offset by SyncNet-v2: sync confidence and distance (no unit), offset in frames of 40 ms."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from eval.syncnet_tracks import find_tracks, track_crops
from latentsync.errors import InputError
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import CHECKPOINTS


def track_scores(video: Path, audio: Path, clips: FaceClips, scorer: SyncScorer) -> list[tuple[int, SyncScore]]:
    """(frames, verdict) of every face track of a video, by the published protocol's crops.

    Raises:
        NotMeasured: no face track is long and large enough.
    """
    tracks = find_tracks(clips.geometry(video))
    if not tracks:
        raise NotMeasured("no face is followed for more than 50 frames at over 100 pixels")
    samples = clips.samples(audio)
    scores = []
    with temporary_folder(remedy="set TMPDIR to another folder") as folder, clips.frames(video) as frames:
        for one in track_crops(frames, tracks, folder):
            start = one.first_frame * SAMPLES_PER_FRAME
            spoken = samples[start : start + len(one.crops) * SAMPLES_PER_FRAME]
            try:
                scores.append((len(one.crops), scorer.score(one.crops, spoken)))
            except InputError:  # the speech ends before this track, or just after it begins
                continue
    if not scores:
        raise NotMeasured("the speech ends before the first face track")
    return scores


@dataclass(frozen=True)
class SyncMetric(Metric):
    """Looks at the result and the driving speech only; `syncnet` is the published `syncnet_v2.model`."""

    syncnet: Path = CHECKPOINTS / "auxiliary" / "syncnet_v2.model"

    name = "sync"
    figures = (
        Figure("lse_c", "", True, "sync confidence (LSE-C): median less minimum of the distance over shifts"),
        Figure("lse_d", "", False, "sync distance (LSE-D): the minimum over shifts"),
        Figure("lse_offset", "frames", None, "shift of the best agreement, of the longest track", 0.0),
    )
    description = "SyncNet-v2 confidence (LSE-C), distance (LSE-D) and offset"
    protocol = (
        "The published protocol (syncnet_python): S3FD faces, tracks of more than 50 frames and over 100 px, "
        "SyncNet-v2 over shifts of 15 frames. Ours is the same, means over a video's tracks; faces come from S3FD "
        "only with the face_alignment detector, at a reduced size of 640 px, else from MTCNN, and sound comes from the "
        "driving file."
    )

    def weights(self) -> list[Path]:
        """SyncNet-v2."""
        return [self.syncnet]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        scorer = SyncNetV2Scorer(load_syncnet_v2(self.syncnet, device))

        def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
            scores = track_scores(sample.result, sample.audio, clips, scorer)
            longest = max(scores, key=lambda one: one[0])[1]
            return {
                "lse_c": float(np.mean([score.confidence for _, score in scores])),
                "lse_d": float(np.mean([score.distance for _, score in scores])),
                "lse_offset": float(longest.offset),
            }

        return judge


METRIC = SyncMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
