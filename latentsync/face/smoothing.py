"""Takes the tremble out of anchors over time, without lag."""

import numpy as np

_WIDTH = 2.5
"""Standard deviation of the weights in frames at 25 frames a second (100 ms)."""

_REACH = 3.0
"""Frames further away than this many standard deviations do not count."""

_DEGREE = 2


def smooth_anchors(anchors: np.ndarray, fps: float = 25.0) -> np.ndarray:
    """Smooths the anchors of one face over successive frames by local regression (Savitzky-Golay with soft weights).

    At every frame a parabola is fitted through the frames around it, near ones counting most, so steady motion and
    acceleration pass unchanged and nothing lags; it looks 0.3 s ahead. At both ends the fit is one-sided.

    Args:
        anchors: (n, 3, 2) in pixels, without NaN, of one segment.
        fps: frames per second.

    Returns:
        (n, 3, 2) of the same dtype.
    """
    num_frames, width = len(anchors), _WIDTH * fps / 25
    if num_frames < 3:
        return anchors.copy()
    reach = max(1, round(_REACH * width))
    track = anchors.reshape(num_frames, -1).astype(np.float64)
    smooth = np.empty_like(track)
    kernel = _weights(np.arange(-reach, reach + 1), width)
    if num_frames > 2 * reach:
        windows = np.lib.stride_tricks.sliding_window_view(track, 2 * reach + 1, axis=0)
        smooth[reach:-reach] = windows @ kernel
    for i in range(num_frames):
        if i < reach or i >= num_frames - reach:
            near = np.arange(max(0, i - reach), min(num_frames, i + reach + 1))
            smooth[i] = _weights(near - i, width) @ track[near]
    return smooth.reshape(anchors.shape).astype(anchors.dtype)


def jitter(anchors: np.ndarray) -> float:
    """Mean length of the anchors' second difference over time, in units of the distance between the brow anchors.

    Args:
        anchors: (n, 3, 2); frames with NaN, and differences across them, are left out. NaN with fewer than 3 frames.
    """
    distance = np.linalg.norm(anchors[:, 1] - anchors[:, 0], axis=1)
    lengths = np.linalg.norm(np.diff(anchors.astype(np.float64), 2, axis=0), axis=-1)
    lengths = lengths[~np.isnan(lengths)]
    return float(lengths.mean() / np.nanmean(distance)) if lengths.size else float("nan")


def _weights(offsets: np.ndarray, width: float) -> np.ndarray:
    """Weights of the frames at these offsets whose sum is the fitted polynomial's value at offset 0."""
    share = np.exp(-0.5 * (offsets / width) ** 2)
    powers = (offsets[:, None] / width) ** np.arange(min(_DEGREE, len(offsets) - 1) + 1)
    return np.linalg.solve(powers.T @ (share[:, None] * powers), (share[:, None] * powers).T)[0]
