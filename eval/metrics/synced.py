"""Which share of a result's frames was painted, left alone or failed, as the record of its making says (0 to 1)."""

import json
import sys
from pathlib import Path

import torch

from eval.face_clips import FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from latentsync.errors import InputError


def frame_shares(record: Path) -> dict[str, float]:
    """Shares of frames of one run, from its record (`latentsync.pipelines.video_maker`); 1 failed where the run has.

    Raises:
        InputError: the file cannot be read, or is no such record.
    """
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["status"] != "finished":
            return {"frames_synced": 0.0, "frames_passed": 0.0, "frames_failed": 1.0}
        num_frames, num_synced = int(content["num_frames"]), int(content["num_synced"])
    except OSError as error:
        raise InputError(f"{record} cannot be read ({error.strerror}): name the record of the run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is no record of a run: make it with python -m eval.inference_videos") from error
    if not 0 <= num_synced <= num_frames or num_frames == 0:
        raise InputError(f"{record} is no record of a run: it counts {num_synced} of {num_frames} frames")
    share = num_synced / num_frames
    return {"frames_synced": share, "frames_passed": 1 - share, "frames_failed": 0.0}


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    if sample.report is None:
        raise NotMeasured("there is no record of its making")
    return frame_shares(sample.report)


class SyncedMetric(Metric):
    """Looks at the record only."""

    name = "synced"
    figures = (
        Figure("frames_synced", "", True, "share of frames whose lips were painted", 1.0, ("report",)),
        Figure("frames_passed", "", False, "share of frames left as they were: no face", 0.0, ("report",)),
        Figure("frames_failed", "", False, "share of frames of failed runs", 0.0, ("report",)),
    )
    description = "shares of frames synced, passed through and failed"
    protocol = "Published evaluations drop failed videos and frames in silence; ours counts them."

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded."""
        return _judge


METRIC = SyncedMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
