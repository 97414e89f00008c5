"""Align a face to the square crop of the U-Net by three anchor points.

As published: a similarity transform maps the anchors to a template in a tall crop of 210 x 280 pixels (w x h, at 256
px), with a smoothed correction for the nose; the tall crop is then scaled to a square. Matrices in this module map
frame to square crop unless stated otherwise, in pixel coordinates whose integers are pixel centres.

`crop_faces_as_published` reproduces the published crops, artefacts included: the tall crop is sampled without
antialiasing and rounded down to whole levels, then resized by Lanczos-4 without antialiasing.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.frames import frame_tensor

GREY = 127.0
"""Level (0-255) of crop pixels outside the frame."""

_TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]]) * 2.8 / 256
"""Anchors (left brow, right brow, nose; x, y) in the tall crop, in units of the resolution."""

_TALL_WIDTH, _TALL_HEIGHT = 210 / 256, 280 / 256
"""Size of the tall crop in units of the resolution."""

_NEW_SHARE = 0.8
"""Weight of the newest frame in the smoothed nose correction."""

_SAMPLES_PER_PIXEL = 1.5
"""Frame pixels per crop pixel above which the frame is shrunk first; bilinear sampling suffices up to there."""

_LANCZOS4_TAPS = 4
"""Pixels on either side from which Lanczos-4 interpolates a resized pixel."""


def tall_size(resolution: int) -> tuple[int, int]:
    """Return width and height of the tall crop in pixels: (210, 280) at 256 px."""
    return round(_TALL_WIDTH * resolution), round(_TALL_HEIGHT * resolution)


class Aligner:
    """Alignment of one face over successive frames; the nose correction is smoothed over time.

    Args:
        resolution: side of the square crop in pixels.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self._squeeze = tall_to_square(resolution)
        self._nose_difference: np.ndarray | None = None

    def reset(self) -> None:
        """Restart the smoothing; to be called at every cut, gap and change of face."""
        self._nose_difference = None

    def tall_matrix(self, points: np.ndarray) -> np.ndarray:
        """Return the (2, 3) float64 matrix from the next frame to its tall crop.

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
        """Return the (2, 3) float32 matrix from the next frame, with anchors (3, 2), to its square crop."""
        return compose(self._squeeze, self.tall_matrix(points)).astype(np.float32)


def tall_to_square(resolution: int) -> np.ndarray:
    """Return the (2, 3) matrix from tall to square crop; it scales pixel areas, not pixel centres."""
    width, height = tall_size(resolution)
    across, down = resolution / width, resolution / height
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the (2, 3) matrix of ``inner`` followed by ``outer``, both (2, 3)."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Return the (2, 3) inverse of an affine (2, 3) matrix."""
    linear = np.linalg.inv(np.asarray(matrix, dtype=np.float64)[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def alignment_matrices(anchors: np.ndarray, resolution: int) -> np.ndarray:
    """Return the frame-to-crop matrices of successive frames.

    Args:
        anchors: (n, 3, 2) in frame pixels; NaN marks a frame without a face: its matrix is NaN, smoothing restarts.
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
    """Cut one aligned face out of each frame: bilinear warp to the tall crop, then Lanczos-3 to the square crop.

    Only the surroundings of the face are read. If the face is much larger than the crop, they are shrunk first, with
    antialiasing.

    Args:
        frames: n uint8 RGB frames (h, w, 3); their sizes may differ.
        matrices: (n, 2, 3) frame to crop, from `alignment_matrices`.
        resolution: side of the crop in pixels.
        device: device of the computation.

    Returns:
        (n, 3, resolution, resolution) float32 in [-1, 1] on the device; grey (127) outside the frame.
    """
    width, height = tall_size(resolution)
    across = lanczos_matrix(width, resolution).to(device).T / 127.5
    down = lanczos_matrix(height, resolution).to(device)
    crops = torch.empty(len(frames), 3, resolution, resolution, device=device)
    for crop, tall in zip(crops, _tall_crops(frames, matrices, resolution, device), strict=True):
        torch.matmul(down @ tall, across, out=crop)
    return crops.add_((GREY - 127.5) / 127.5).clamp_(-1, 1)


@torch.inference_mode()
def crop_faces_as_published(
    frames: Sequence[np.ndarray], matrices: np.ndarray, resolution: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Cut one aligned face out of each frame as the published system does. See `crop_faces`."""
    width, height = tall_size(resolution)
    across = lanczos4_matrix(width, resolution).to(device).T
    down = lanczos4_matrix(height, resolution).to(device)
    crops = torch.empty(len(frames), 3, resolution, resolution, device=device)
    for crop, tall in zip(crops, _tall_crops(frames, matrices, resolution, device, antialias=False), strict=True):
        # with float32 coordinates a sample can fall a few thousandths below a whole level
        levels = tall.add_(GREY + 1e-2).clamp_(0, 255).floor_()
        torch.matmul(down @ levels, across, out=crop)
    return crops.round_().clamp_(0, 255).div_(127.5).sub_(1)


def _tall_crops(
    frames: Sequence[np.ndarray] | torch.Tensor,
    matrices: np.ndarray,
    resolution: int,
    device: torch.device | str,
    antialias: bool = True,
) -> Iterator[torch.Tensor]:
    """Yield the tall crop of each frame, see `warp_to_tall`."""
    width, height = tall_size(resolution)
    to_tall = invert(tall_to_square(resolution))
    for frame, matrix in zip(frames, matrices, strict=True):
        yield warp_to_tall(frame, compose(to_tall, matrix), width, height, device, antialias)


def warp_to_tall(
    frame: np.ndarray | torch.Tensor,
    matrix: np.ndarray,
    width: int,
    height: int,
    device: torch.device | str,
    antialias: bool = True,
) -> torch.Tensor:
    """Return (3, height, width) bilinear samples of a uint8 frame, minus `GREY`; zero outside the frame.

    Args:
        frame: uint8 RGB (h, w, 3).
        matrix: (2, 3) frame to tall crop.
        width, height: size of the tall crop in pixels.
        device: device of the computation.
        antialias: shrink the frame first if the face is much larger than the crop.
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
        # torch resizes interleaved uint8 fast on the CPU, and not at all on the GPU
        region = region if region.device.type == "cpu" else region.float()
        region = F.interpolate(region, shrunk, mode="bilinear", antialias=True, align_corners=False)
    region = region.to(torch.float32, copy=True).sub_(GREY)
    grid = pixel_grid(compose(unit_square((x0, y0, x1, y1)), to_frame), width, height, region.device)
    return F.grid_sample(region, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def unit_square(box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the (2, 3) matrix from pixels to grid_sample's coordinates: -1 to 1 across the box x0, y0, x1, y1."""
    low, size = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    return np.column_stack([np.diag(2 / size), (1 - 2 * low) / size - 1])


def pixel_grid(matrix: np.ndarray, width: int, height: int, device: torch.device) -> torch.Tensor:
    """Return (1, height, width, 2) float32: every pixel (x, y) of a width x height image, mapped by a (2, 3) matrix."""
    linear = torch.as_tensor(matrix, dtype=torch.float32, device=device)
    columns = torch.arange(width, dtype=torch.float32, device=device)[None, :, None] * linear[:, 0]
    rows = torch.arange(height, dtype=torch.float32, device=device)[:, None, None] * linear[:, 1] + linear[:, 2]
    return (columns + rows)[None]


def covered_box(
    to_frame: np.ndarray, width: int, height: int, frame_width: int, frame_height: int, margin: int = 0
) -> tuple[int, int, int, int] | None:
    """Return the box x0, y0, x1, y1 (ends excluded) of frame pixels that an image covers, or None if it covers none.

    Args:
        to_frame: (2, 3) matrix from the image to the frame.
        width, height: size of the image in pixels.
        frame_width, frame_height: size of the frame in pixels, to which the box is clipped.
        margin: pixels added on each side before clipping.
    """
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    corners = corners @ to_frame[:, :2].T + to_frame[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0)) - margin, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1 + margin, (frame_width, frame_height)).astype(int)
    if (low >= high).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def lanczos_matrix(num_in: int, num_out: int) -> torch.Tensor:
    """Return (num_out, num_in) float32 weights of a Lanczos-3 resize along one axis, antialiased when it shrinks."""
    scale = num_in / num_out
    support = max(scale, 1.0)
    centres = (torch.arange(num_out, dtype=torch.float64) + 0.5) * scale - 0.5
    distance = (torch.arange(num_in, dtype=torch.float64)[None] - centres[:, None]) / support
    weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def lanczos4_matrix(num_in: int, num_out: int) -> torch.Tensor:
    """Return (num_out, num_in) float32 weights of OpenCV's INTER_LANCZOS4 along one axis.

    There are eight taps at every scale. Beyond the ends the end pixel is repeated.
    """
    centres = (torch.arange(num_out, dtype=torch.float64) + 0.5) * (num_in / num_out) - 0.5
    taps = centres.floor()[:, None] + torch.arange(1 - _LANCZOS4_TAPS, _LANCZOS4_TAPS + 1)
    distance = taps - centres[:, None]
    weights = torch.sinc(distance) * torch.sinc(distance / _LANCZOS4_TAPS)
    weights /= weights.sum(dim=1, keepdim=True)
    matrix = torch.zeros(num_out, num_in, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.clamp(0, num_in - 1).long(), weights).float()
