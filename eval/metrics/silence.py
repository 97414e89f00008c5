"""Lip leak: motion of the mouth while the speech is silent, in grey levels (0 to 255) per frame."""

import sys

import numpy as np
from scipy.ndimage import binary_erosion, binary_opening

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.metrics.command import run_command
from eval.metrics.flicker import mouth_motion
from eval.metrics.metric import FunctionMetric, Quantity
from eval.pairs import Pair
from latentsync.errors import NotMeasured

SILENCE_DB = 30.0
"""A frame is silent if its level is this far below the 95th percentile of all frames."""

MIN_LEVEL = 1e-3
"""Root mean square below which a frame is silent regardless of the others."""

_SETTLING_FRAMES = 3
"""Frames skipped at both ends of a silence: the mouth closes after a sound and opens before one."""

_MIN_FRAMES = 5


def silent_frames(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """Return (num_frames,) bool, True for frames of 40 ms whose samples (s,) in [-1, 1] at 16 kHz are silent."""
    padded = np.zeros(num_frames * SAMPLES_PER_FRAME)
    length = min(len(samples), len(padded))
    padded[:length] = samples[:length]
    level = np.sqrt(np.square(padded.reshape(num_frames, -1)).mean(axis=1))
    loud = np.percentile(level, 95) if num_frames else 0.0
    return level < max(loud * 10 ** (-SILENCE_DB / 20), MIN_LEVEL)


def settled_silence(silent: np.ndarray) -> np.ndarray:
    """Return (n,) bool, True inside silences without the frames at their ends; the video's ends are not skipped."""
    return binary_erosion(silent, np.ones(2 * _SETTLING_FRAMES + 1), border_value=1)


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    clip = clips.of_result(pair)
    motion = mouth_motion(clip, order=1)
    silent = silent_frames(clips.samples(pair.audio, pair.result, len(clip)), len(clip))
    measured = np.isfinite(motion)
    settled = settled_silence(silent)
    still = settled & np.roll(settled, 1) & measured  # motion[i] is the change from frame i - 1
    spoken = binary_opening(~silent, np.ones(2)) & measured
    if still.sum() < _MIN_FRAMES:
        raise NotMeasured(f"the speech has only {int(still.sum())} frames of settled silence with the face")
    in_silence = float(motion[still].mean())
    values = {"silence_motion": in_silence}
    if spoken.sum() >= _MIN_FRAMES and motion[spoken].mean() > 0:
        values["silence_ratio"] = in_silence / float(motion[spoken].mean())
    return values


METRIC = FunctionMetric(
    name="silence",
    quantities=(
        Quantity(
            "silence_motion", "grey levels", False, "change of the mouth region a frame while the speech is silent"
        ),
        Quantity("silence_ratio", "", False, "the same over the change while there is speech"),
    ),
    description="mouth motion in silence (lip leak)",
    protocol=(
        f"No published value is comparable. Frames {SILENCE_DB:.0f} dB below the loud frames count as silent; "
        f"{_SETTLING_FRAMES} frames at both ends of a silence are skipped. Noise and head turns change pixels too, so "
        "compare with the row of the ground truth, not with 0."
    ),
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
