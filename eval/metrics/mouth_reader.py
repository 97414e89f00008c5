"""How the mouth's opening and width follow the reference's: correlation (-1 to 1), synthetic people only."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips, common_frames
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from latentsync.judges.crop_measures import correlation
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.weights import CHECKPOINTS

_LEAST_FRAMES = 10
_BATCH = 32


@dataclass(frozen=True)
class MouthReaderMetric(Metric):
    """Needs a reference; `reader` reads opening (0 closed, 1 wide open) and width (0.5 neutral) off a crop."""

    reader: Path = CHECKPOINTS / "demo" / "mouth_reader.pt"

    name = "mouth_reader"
    figures = (
        Figure(
            "mouth_opening", "", True, "correlation over time of the opening with the reference's", 1.0, ("reference",)
        ),
        Figure("mouth_width", "", True, "correlation over time of the width with the reference's", 1.0, ("reference",)),
        Figure("mouth_opening_error", "", False, "mean absolute error of the opening (0...1)", 0.0, ("reference",)),
    )
    description = "mouth opening and width against the reference (stand-in for LMD, synthetic people only)"
    protocol = (
        "Stand-in for the landmark distance (`lmd`) where its weights are missing: a small network of this repository, "
        "trained on rendered people whose mouth is known, and meaningless on real ones. Nothing published compares."
    )

    def weights(self) -> list[Path]:
        """The reader."""
        return [self.reader]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        reader = load_mouth_reader(self.reader, device)

        def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
            result = clips.crops(sample.result, sample.source)
            reference = clips.crops(sample.required_reference(), sample.source)
            frames = common_frames(result, reference)
            if len(frames) < _LEAST_FRAMES:
                raise NotMeasured(f"only {len(frames)} frames show the face: a correlation needs {_LEAST_FRAMES}")
            chunks = [frames[start : start + _BATCH] for start in range(0, len(frames), _BATCH)]
            ours, theirs = (
                np.concatenate([read_mouth(reader, clip.crops[chunk]) for chunk in chunks])
                for clip in (result, reference)
            )
            return {
                "mouth_opening": correlation(ours[:, 0], theirs[:, 0]),
                "mouth_width": correlation(ours[:, 1], theirs[:, 1]),
                "mouth_opening_error": float(np.abs(ours[:, 0] - theirs[:, 0]).mean()),
            }

        return judge


METRIC = MouthReaderMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
