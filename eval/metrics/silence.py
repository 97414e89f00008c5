"""Lip leak: how much the mouth moves while the speech is silent, in grey levels (0-255) a frame."""

import sys

import numpy as np
import torch
from scipy.ndimage import binary_erosion, binary_opening

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.mouth_motion import mouth_motion
from eval.not_measured import NotMeasured

SILENCE_DB = 30.0
"""A frame is silent that is so many dB below the loud ones (their 95th percentile)."""

LOWEST_LEVEL = 1e-3
"""Root mean square below which a frame is silent however quiet the whole is."""

_SETTLING_FRAMES = 3
"""So many frames are left out at both ends of a silence: the mouth closes after a sound and opens before one."""

_LEAST_FRAMES = 5


def silent_frames(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """(num_frames,) bool: frames of 40 ms whose sound (s,) in [-1, 1] at 16 kHz is silent."""
    padded = np.zeros(num_frames * SAMPLES_PER_FRAME)
    length = min(len(samples), len(padded))
    padded[:length] = samples[:length]
    level = np.sqrt(np.square(padded.reshape(num_frames, -1)).mean(axis=1))
    loud = np.percentile(level, 95) if num_frames else 0.0
    return level < max(loud * 10 ** (-SILENCE_DB / 20), LOWEST_LEVEL)


def settled_silence(silent: np.ndarray) -> np.ndarray:
    """The frames (n,) bool inside silences, their ends left out; the ends of the video are no ends of a silence."""
    return binary_erosion(silent, np.ones(2 * _SETTLING_FRAMES + 1), border_value=1)


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    clip = clips.crops(sample.result, sample.source)
    motion = mouth_motion(clip, order=1)
    silent = silent_frames(clips.samples(sample.audio, len(clip)), len(clip))
    measured = np.isfinite(motion)
    settled = settled_silence(silent)
    still = settled & np.roll(settled, 1) & measured  # motion is from the frame before
    spoken = binary_opening(~silent, np.ones(2)) & measured
    if still.sum() < _LEAST_FRAMES:
        raise NotMeasured(f"the speech has only {int(still.sum())} frames of settled silence with the face")
    in_silence = float(motion[still].mean())
    figures = {"silence_motion": in_silence}
    if spoken.sum() >= _LEAST_FRAMES and motion[spoken].mean() > 0:
        figures["silence_ratio"] = in_silence / float(motion[spoken].mean())
    return figures


class SilenceMetric(Metric):
    """Looks at the result and the driving speech only."""

    name = "silence"
    figures = (
        Figure("silence_motion", "grey levels", False, "change of the mouth region a frame while the speech is silent"),
        Figure("silence_ratio", "", False, "the same over the change while there is speech"),
    )
    description = "mouth motion in silence (lip leak)"
    protocol = (
        f"Nothing published is comparable. Silence is {SILENCE_DB:.0f} dB under the loud frames, {_SETTLING_FRAMES} "
        "frames at both ends of a silence are left out. Noise and head turns move pixels too, so compare with the "
        "ground truth's row, not with 0."
    )

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded; it runs on the CPU."""
        return _judge


METRIC = SilenceMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
