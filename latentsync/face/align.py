"""Brings a face into the square crop the U-Net knows, by three anchor points.

The rule is the published one: a similarity transform onto a template in a 210 x 280 (w x h at 256 px) space, with a
smoothed correction for the nose, and that space squeezed to a square. Matrices here map *frame to square crop*, the
squeeze included, in pixel coordinates whose integers are pixel centres.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.frame_tensor import frame_tensor

GREY = 127.0
"""Grey level (0-255) of crop pixels that lie outside the frame."""

_TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]]) * 2.8 / 256
"""Anchors (left brow, right brow, nose; x, y) in the tall crop, in units of the resolution."""

_TALL_WIDTH, _TALL_HEIGHT = 210 / 256, 280 / 256
"""Size of the tall crop in units of the resolution."""

_NEW_SHARE = 0.8
"""Share of the newest frame in the smoothed nose correction."""

_SAMPLES_PER_PIXEL = 1.5
"""Frame pixels a crop pixel may span before the frame is shrunk first; plain bilinear sampling up to there."""


def tall_size(resolution: int) -> tuple[int, int]:
    """Width and height in pixels of the tall crop the template lives in: (210, 280) at 256 px."""
    return round(_TALL_WIDTH * resolution), round(_TALL_HEIGHT * resolution)


class Aligner:
    """Alignment of one face over successive frames; the nose correction carries over from frame to frame.

    Args:
        resolution: side of the square crop in pixels.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self._squeeze = tall_to_square(resolution)
        self._nose_difference: np.ndarray | None = None

    def reset(self) -> None:
        """Forgets the frames before: call it at every cut, gap and change of face."""
        self._nose_difference = None

    def tall_matrix(self, points: np.ndarray) -> np.ndarray:
        """(2, 3) float64 matrix from the frame to the tall crop for the next frame's anchors.

        Args:
            points: (3, 2) left brow, right brow, nose in frame pixels.
        """
        points, template = np.asarray(points, dtype=np.float64), _TEMPLATE * self.resolution
        point_mean, template_mean = points.mean(axis=0), template.mean(axis=0)
        point_spread = (points - point_mean).std(ddof=1)
        template_spread = (template - template_mean).std(ddof=1)
        source, target = (points - point_mean) / point_spread, (template - template_mean) / template_spread
        left, _, right = np.linalg.svd(target.T @ source)
        linear = left @ right * (template_spread / point_spread)
        difference = target[2] - source[2]
        if self._nose_difference is not None:
            difference = _NEW_SHARE * difference + (1 - _NEW_SHARE) * self._nose_difference
        self._nose_difference = difference
        return np.column_stack([linear, template_mean - linear @ point_mean + difference])

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """(2, 3) float32 matrix from the frame to the square crop for the next frame's anchors (3, 2)."""
        return compose(self._squeeze, self.tall_matrix(points)).astype(np.float32)


def tall_to_square(resolution: int) -> np.ndarray:
    """(2, 3) matrix that squeezes the tall crop to the square one; pixel areas, not pixel centres, are scaled."""
    width, height = tall_size(resolution)
    across, down = resolution / width, resolution / height
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """(2, 3) matrix of ``inner`` followed by ``outer``, both (2, 3)."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """(2, 3) inverse of an affine (2, 3) matrix."""
    linear = np.linalg.inv(np.asarray(matrix, dtype=np.float64)[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def alignment_matrices(anchors: np.ndarray, resolution: int) -> np.ndarray:
    """Frame-to-crop matrices of successive frames.

    Args:
        anchors: (n, 3, 2) in frame pixels; a frame with NaN has no face, gets a NaN matrix and restarts the smoothing.
        resolution: side of the square crop in pixels.

    Returns:
        (n, 2, 3) float32.
    """
    aligner = Aligner(resolution)
    matrices = np.full((len(anchors), 2, 3), np.nan, dtype=np.float32)
    for matrix, points in zip(matrices, anchors, strict=True):
        if np.isnan(points).any():
            aligner.reset()
        else:
            matrix[:] = aligner.matrix(points)
    return matrices


@torch.inference_mode()
def crop_faces(
    frames: Sequence[np.ndarray] | torch.Tensor,
    matrices: np.ndarray,
    resolution: int,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Cuts one aligned face out of each frame: bilinear warp to the tall crop, then Lanczos to the square one.

    Only the surroundings of the face are read. Where the face is much larger than the crop its surroundings are shrunk
    first, without aliasing.

    Args:
        frames: n uint8 RGB frames (h, w, 3), their sizes may differ.
        matrices: (n, 2, 3) frame to crop, from `alignment_matrices`.
        resolution: side of the crop in pixels.
        device: where the work is done.

    Returns:
        (n, 3, resolution, resolution) float32 in [-1, 1] on the device; grey (127) outside the frame.
    """
    width, height = tall_size(resolution)
    across = lanczos_matrix(width, resolution).to(device).T / 127.5
    down = lanczos_matrix(height, resolution).to(device)
    unsqueeze = invert(tall_to_square(resolution))
    crops = torch.empty(len(frames), 3, resolution, resolution, device=device)
    for crop, frame, matrix in zip(crops, frames, matrices, strict=True):
        tall = warp_to_tall(frame, compose(unsqueeze, matrix), width, height, device)
        torch.matmul(down @ tall, across, out=crop)
    return crops.add_((GREY - 127.5) / 127.5).clamp_(-1, 1)


def warp_to_tall(
    frame: np.ndarray | torch.Tensor,
    matrix: np.ndarray,
    width: int,
    height: int,
    device: torch.device | str,
    antialias: bool = True,
) -> torch.Tensor:
    """(3, height, width) bilinear samples of a uint8 frame (h, w, 3), minus `GREY`; zero outside the frame.

    Args:
        frame: uint8 RGB (h, w, 3).
        matrix: (2, 3) frame to tall crop.
        width, height: size of the tall crop in pixels.
        device: where the work is done.
        antialias: whether the frame is shrunk first where the face is much larger than the crop.
    """
    to_frame = invert(matrix)
    pixels_per_sample = float(np.sqrt(abs(np.linalg.det(to_frame[:, :2]))))
    box = covered_box(to_frame, width, height, frame.shape[1], frame.shape[0], margin=2 + int(pixels_per_sample * 2))
    if box is None:
        return torch.zeros(3, height, width, device=device)
    x0, y0, x1, y1 = box
    region = frame_tensor(frame[y0:y1, x0:x1]).to(device).permute(2, 0, 1)[None]
    share = min(1.0, _SAMPLES_PER_PIXEL / pixels_per_sample) if antialias else 1.0
    shrunk = [max(2, round(side * share)) for side in region.shape[2:]]
    if tuple(shrunk) != tuple(region.shape[2:]):
        # on the CPU torch has a fast path for interleaved uint8, and on the GPU none at all
        region = region if region.device.type == "cpu" else region.float()
        region = F.interpolate(region, shrunk, mode="bilinear", antialias=True, align_corners=False)
    region = region.to(torch.float32, copy=True).sub_(GREY)
    grid = pixel_grid(compose(unit_square((x0, y0, x1, y1)), to_frame), width, height, region.device)
    return F.grid_sample(region, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def unit_square(box: tuple[int, int, int, int]) -> np.ndarray:
    """(2, 3) matrix from pixels to grid_sample's coordinates, -1...1 from edge to edge of the box x0, y0, x1, y1."""
    low, size = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    return np.column_stack([np.diag(2 / size), (1 - 2 * low) / size - 1])


def pixel_grid(matrix: np.ndarray, width: int, height: int, device: torch.device) -> torch.Tensor:
    """(1, height, width, 2) float32: the image under a (2, 3) matrix of every pixel of a width x height picture."""
    linear = torch.as_tensor(matrix, dtype=torch.float32, device=device)
    columns = torch.arange(width, dtype=torch.float32, device=device)[None, :, None] * linear[:, 0]
    rows = torch.arange(height, dtype=torch.float32, device=device)[:, None, None] * linear[:, 1] + linear[:, 2]
    return (columns + rows)[None]


def covered_box(
    to_frame: np.ndarray, width: int, height: int, frame_width: int, frame_height: int, margin: int = 0
) -> tuple[int, int, int, int] | None:
    """Frame pixels x0, y0, x1, y1 (ends open) around the image of a width x height picture; None where outside.

    Args:
        to_frame: (2, 3) matrix from the picture to the frame.
        width, height: size of the picture in pixels.
        frame_width, frame_height: size of the frame in pixels; the box is cut off there.
        margin: pixels added on each side before the cut.
    """
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    corners = corners @ to_frame[:, :2].T + to_frame[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0)) - margin, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1 + margin, (frame_width, frame_height)).astype(int)
    if (low >= high).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def lanczos_matrix(num_in: int, num_out: int) -> torch.Tensor:
    """(num_out, num_in) float32 weights of a Lanczos-3 resize along one axis, antialiased when it shrinks."""
    scale = num_in / num_out
    support = max(scale, 1.0)
    centres = (torch.arange(num_out, dtype=torch.float64) + 0.5) * scale - 0.5
    distance = (torch.arange(num_in, dtype=torch.float64)[None] - centres[:, None]) / support
    weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
