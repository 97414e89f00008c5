"""Puts a generated crop back into its frame: only the masked lower face, softly, and only inside the face's box."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.align import compose, covered_box, invert, pixel_grid, tall_size, unit_square
from latentsync.face.mask import blend_mask

_EDGE_SHARE = 1 / 20
"""The soft edge of the crop is half way up at this share of the crop's mean side (in the tall crop's pixels)."""

_SPREAD_SHARE = 0.3
"""Standard deviation of the soft edge's climb, as a share of that distance."""

_SAMPLES_PER_PIXEL = 1.5
"""Crop pixels a frame pixel may span before the crop is shrunk first; plain sampling up to there."""


def soft_edge(resolution: int) -> torch.Tensor:
    """(resolution, resolution) float32 weight of a crop's pixels: 0 at its border, 1 well inside.

    In the frame this is the published look, a rectangle eroded by a twentieth of its mean side and blurred by a
    Gaussian; a blurred rectangle is the product of two error functions, so it is written down in crop space at once.
    """
    size = np.array(tall_size(resolution), dtype=np.float64)
    distance = np.sqrt(size.prod()) * _EDGE_SHARE
    profiles = []
    for side in size:
        position = (torch.arange(resolution, dtype=torch.float64) + 0.5) * (side / resolution)
        from_edge = torch.minimum(position, side - position)
        profiles.append(torch.special.ndtr((from_edge - distance) / (_SPREAD_SHARE * distance)))
    return (profiles[1][:, None] * profiles[0][None]).float()


class FacePaster:
    """Blends generated crops into frames.

    Args:
        resolution: side of the crops in pixels.
        device: where the work is done; only the face's box of a frame travels there and back.
    """

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        self.resolution = resolution
        self.device = torch.device(device)
        self._weight = (blend_mask(resolution) * soft_edge(resolution))[None].to(self.device)
        self._box = _box_above_zero(self._weight[0])

    @property
    def weight(self) -> torch.Tensor:
        """(resolution, resolution) float32 share of the generated pixels, 0 in the kept region."""
        return self._weight[0]

    def paste(self, frame: np.ndarray, generated: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
        """A copy of the frame with the generated lower face blended in.

        Args:
            frame: (h, w, 3) uint8 RGB, left as it is.
            generated: (3, resolution, resolution) in [-1, 1].
            matrix: (2, 3) frame to crop, the one the crop was cut with.

        Returns:
            (h, w, 3) uint8; pixels outside the blended area are the frame's, bit for bit.
        """
        return self.paste_batch([frame], generated[None], matrix[None])[0]

    @torch.inference_mode()
    def paste_batch(
        self, frames: Sequence[np.ndarray], generated: torch.Tensor, matrices: np.ndarray
    ) -> list[np.ndarray]:
        """`paste` for n frames: generated (n, 3, resolution, resolution), matrices (n, 2, 3)."""
        generated = generated.to(self.device, torch.float32).clamp(-1, 1)
        results = []
        for frame, crop, matrix in zip(frames, generated, matrices, strict=True):
            result = frame.copy()
            self._blend(result, crop, np.asarray(matrix, dtype=np.float64))
            results.append(result)
        return results

    def _blend(self, frame: np.ndarray, crop: torch.Tensor, matrix: np.ndarray) -> None:
        """Blends one crop into the frame in place."""
        x0, y0, x1, y1 = self._box
        to_frame = compose(invert(matrix), np.array([[1.0, 0, x0], [0, 1.0, y0]]))
        box = covered_box(to_frame, x1 - x0, y1 - y0, frame.shape[1], frame.shape[0], margin=1)
        if box is None:
            return
        left, top, right, bottom = box
        to_crop = compose(matrix, np.array([[1.0, 0, left], [0, 1.0, top]]))
        to_unit = compose(unit_square((0, 0, self.resolution, self.resolution)), to_crop)
        grid = pixel_grid(to_unit, right - left, bottom - top, self.device)
        pixels, weight = self._shrunk(crop, matrix)
        face = F.grid_sample(pixels[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
        share = F.grid_sample(weight[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        region = frame[top:bottom, left:right]
        source = torch.from_numpy(region).to(self.device).permute(2, 0, 1).float()
        # a weight of zero leaves the whole number the source pixel is
        face = face.add_(1).mul_(127.5).clamp_(0, 255).sub_(source).mul_(share).add_(source)
        region[:] = face.round_().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def _shrunk(self, crop: torch.Tensor, matrix: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The crop and its weight, made smaller without aliasing where the face in the frame is much smaller."""
        density = np.sqrt(abs(np.linalg.det(matrix[:, :2]))) / _SAMPLES_PER_PIXEL
        side = max(16, round(self.resolution / max(density, 1.0)))
        if side >= self.resolution:
            return crop, self._weight
        stacked = torch.cat([crop, self._weight])[None]
        small = F.interpolate(stacked, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
        return small[:3], small[3:]


def _box_above_zero(weight: torch.Tensor) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (ends open) of the pixels with a weight, one pixel larger all round where there is room."""
    rows, columns = torch.nonzero(weight.amax(dim=1)).flatten(), torch.nonzero(weight.amax(dim=0)).flatten()
    height, width = weight.shape
    x0, x1 = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, width)
    y0, y1 = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)
    return x0, y0, x1, y1
