"""Shares (0 to 1) of a result's frames that were generated, unchanged or failed, from the record of its generation."""

import json
import sys
from pathlib import Path

from eval.face_clips import FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import FunctionMetric, Quantity
from eval.pairs import Pair
from latentsync.errors import InputError, NotMeasured


def frame_shares(record: Path) -> dict[str, float]:
    """Return shares of frames from the record of one video (`latentsync.pipelines.video_maker`).

    Raises:
        InputError: the file cannot be read, or is not such a record.
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


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    if pair.report is None:
        raise NotMeasured("there is no record of its making")
    return frame_shares(pair.report)


METRIC = FunctionMetric(
    name="synced",
    quantities=(
        Quantity("frames_synced", "", True, "share of frames whose lips were generated", 1.0, ("report",)),
        Quantity("frames_passed", "", False, "share of frames left unchanged: no face", 0.0, ("report",)),
        Quantity("frames_failed", "", False, "share of frames of failed runs", 0.0, ("report",)),
    ),
    description="shares of frames synced, passed through and failed",
    protocol="Published evaluations drop failed videos and frames in silence; ours counts them.",
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
