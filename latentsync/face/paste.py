"""Paste a generated crop back into its frame: match its colours, then blend the masked lower face.

`match_colour` removes the colour cast of a small autoencoder without changing detail. Around the mask lies a ring of
kept pixels that are known twice: in the source and in the decoded crop. Their difference is the cast at that place; a
smooth field interpolated from these differences, added to the crop, removes the step at the mask's border.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.align import compose, covered_box, invert, pixel_grid, tall_size, tall_to_square, unit_square
from latentsync.face.mask import blend_mask, distance_inside
from latentsync.face.occlusion import keep_weight
from latentsync.frame_buffers import FrameBuffers

RING_SHARE = 0.06
"""Width of the ring outside the mask as a share of the resolution."""

_NUM_CELLS = 32
"""Cells of the colour field along each side."""

_SOFTNESS = 2.0
"""Distance in cells within which ring cells have about the same weight."""

_LARGEST_SHIFT = 0.5
"""Largest correction of a channel, in units of pixels in [-1, 1]."""

_EDGE_SHARE = 1 / 20
"""Distance from the border at which the soft edge reaches 0.5, as a share of the tall crop's mean side."""

_SPREAD_SHARE = 0.3
"""Standard deviation of the soft edge's profile, as a share of that distance."""

_SAMPLES_PER_PIXEL = 1.5
"""Crop pixels per frame pixel above which the crop is shrunk first; plain sampling suffices up to there."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, ends excluded."""


@torch.inference_mode()
def match_colour(generated: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Add a smooth colour field to generated crops, so that they agree with the source around the mask.

    Args:
        generated: (n, 3, R, R) decoded crops in [-1, 1]; their kept region must be the decoded source.
        source: (n, 3, R, R) crops cut from the frames, in [-1, 1].

    Returns:
        (n, 3, R, R) in [-1, 1], with the dtype and device of `generated`.
    """
    resolution = generated.shape[-1]
    ring, spread = (part.to(generated.device) for part in _ring_and_spread(resolution))
    difference = (source.to(generated.device).float() - generated.float()) * ring
    cells = F.adaptive_avg_pool2d(difference, _NUM_CELLS).flatten(2)
    field = (cells @ spread.T).clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT).unflatten(2, (_NUM_CELLS, _NUM_CELLS))
    field = F.interpolate(field, (resolution, resolution), mode="bilinear", align_corners=False)
    return (generated + field.to(generated.dtype)).clamp(-1, 1)


def soft_edge(resolution: int) -> torch.Tensor:
    """Return (resolution, resolution) float32 weights of a crop's pixels: 0 at its border, 1 well inside.

    In the frame this equals the published edge, a rectangle eroded by a twentieth of its mean side and blurred by a
    Gaussian; a blurred rectangle is the product of two error functions, which are evaluated in crop space.
    """
    size = np.array(tall_size(resolution), dtype=np.float64)
    distance = np.sqrt(size.prod()) * _EDGE_SHARE
    profiles = []
    for side in size:
        position = (torch.arange(resolution, dtype=torch.float64) + 0.5) * (side / resolution)
        from_edge = torch.minimum(position, side - position)
        profiles.append(torch.special.ndtr((from_edge - distance) / (_SPREAD_SHARE * distance)))
    return (profiles[1][:, None] * profiles[0][None]).float()


class _Paster:
    """Base of the pasters.

    Args:
        resolution: side of the crops in pixels.
        device: device of the computation; only the face's box of a frame is transferred.
    """

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        self.resolution = resolution
        self.device = torch.device(device)
        self._buffers = FrameBuffers()


class FacePaster(_Paster):
    """Blend the masked lower face of generated crops into frames."""

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        super().__init__(resolution, device)
        self._weight = (blend_mask(resolution) * soft_edge(resolution))[None].to(self.device)
        self._box = _box_above_zero(self._weight[0])

    @property
    def weight(self) -> torch.Tensor:
        """(resolution, resolution) float32 weight of the generated pixels, 0 in the kept region."""
        return self._weight[0]

    @torch.inference_mode()
    def paste(
        self,
        frame: np.ndarray,
        generated: torch.Tensor,
        matrix: np.ndarray,
        strength: float = 1.0,
        occluder: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return a copy of the frame with the generated lower face blended in.

        Args:
            frame: (h, w, 3) uint8 RGB.
            generated: (3, resolution, resolution) in [-1, 1].
            matrix: (2, 3) frame to crop, with which the crop was cut.
            strength: weight of the generated face, 0 to 1, which multiplies that of every pixel.
            occluder: (h, w) uint8, 255 where something is in front of the face.

        Returns:
            (h, w, 3) uint8; pixels outside the blended area, and those that are 255 in `occluder`, equal the frame's
            bit for bit.
        """
        generated = generated.to(self.device, torch.float32).clamp(-1, 1)
        result = self._buffers.copy(frame)
        if strength > 0:
            self._blend(result, generated, np.asarray(matrix, dtype=np.float64), strength, occluder)
        return result

    def paste_batch(
        self, frames: Sequence[np.ndarray], generated: torch.Tensor, matrices: np.ndarray
    ) -> list[np.ndarray]:
        """`paste` for n frames: generated (n, 3, resolution, resolution), matrices (n, 2, 3)."""
        return [self.paste(*each) for each in zip(frames, generated, matrices, strict=True)]

    def _blend(
        self, frame: np.ndarray, crop: torch.Tensor, matrix: np.ndarray, strength: float, occluder: np.ndarray | None
    ) -> None:
        """Blend one crop into the frame in place."""
        x0, y0, x1, y1 = self._box
        to_frame = compose(invert(matrix), _translation(x0, y0))
        box = covered_box(to_frame, x1 - x0, y1 - y0, frame.shape[1], frame.shape[0], margin=1)
        if box is None:
            return
        grid = _sampling_grid(matrix, (self.resolution, self.resolution), box, self.device)
        pixels, weight = self._shrunk(crop, matrix)
        face = F.grid_sample(pixels[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
        share = F.grid_sample(weight[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        if strength < 1:
            share.mul_(strength)
        if occluder is not None:
            face_side = self.resolution / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
            share.mul_(1 - torch.from_numpy(keep_weight(occluder, box, face_side)).to(self.device))
        _blend_into(frame, box, face.add_(1).mul_(127.5).clamp_(0, 255), share, round_down=False)

    def _shrunk(self, crop: torch.Tensor, matrix: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the crop and its weight, shrunk with antialiasing if the face is much smaller in the frame."""
        density = np.sqrt(abs(np.linalg.det(matrix[:, :2]))) / _SAMPLES_PER_PIXEL
        side = max(16, round(self.resolution / max(density, 1.0)))
        if side >= self.resolution:
            return crop, self._weight
        stacked = torch.cat([crop, self._weight])[None]
        small = F.interpolate(stacked, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
        return small[:3], small[3:]


class PublishedPaster(_Paster):
    """Blend whole crops into frames as the published system does: kept pixels included, through two interpolations."""

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        super().__init__(resolution, device)
        self._edge = soft_edge(resolution)[None, None].to(self.device)
        self._square_to_tall = invert(tall_to_square(resolution))

    @torch.inference_mode()
    def paste(self, frame: np.ndarray, crop: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
        """Return a copy of the frame with the crop blended in.

        Args:
            frame: (h, w, 3) uint8 RGB.
            crop: (3, resolution, resolution) in [-1, 1]: generated pixels in the mask, the source's around it.
            matrix: (2, 3) frame to crop, with which the crop was cut.

        Returns:
            (h, w, 3) uint8; pixels outside the crop equal the frame's.
        """
        result = self._buffers.copy(frame)
        matrix = np.asarray(matrix, dtype=np.float64)
        to_tall = compose(self._square_to_tall, matrix)
        width, height = tall_size(self.resolution)
        box = covered_box(invert(to_tall), width, height, frame.shape[1], frame.shape[0], margin=1)
        if box is None:
            return result
        crop = crop.to(self.device, torch.float32)[None]
        tall = F.interpolate(crop, (height, width), mode="bicubic", antialias=True, align_corners=False)
        face = self._sample(tall, to_tall, box, "border").div_(2).add_(0.5).clamp_(0, 1).mul_(255)
        _blend_into(result, box, face, self._sample(self._edge, matrix, box, "zeros"), round_down=True)
        return result

    def _sample(self, image: torch.Tensor, to_image: np.ndarray, box: Box, padding: str) -> torch.Tensor:
        """Return (c, h, w) bilinear samples of an image (1, c, h', w') at the frame's pixels in the box."""
        grid = _sampling_grid(to_image, (image.shape[-1], image.shape[-2]), box, self.device)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)[0]


def _sampling_grid(to_image: np.ndarray, size: tuple[int, int], box: Box, device: torch.device) -> torch.Tensor:
    """Return grid_sample's grid for the frame's pixels in the box.

    Args:
        to_image: (2, 3) matrix from the frame to the image.
        size: (w, h) of the image in the matrix's pixels.
        box: pixels of the frame.
        device: device of the grid.
    """
    left, top, right, bottom = box
    to_unit = compose(unit_square((0, 0, *size)), compose(to_image, _translation(left, top)))
    return pixel_grid(to_unit, right - left, bottom - top, device)


def _blend_into(frame: np.ndarray, box: Box, face: torch.Tensor, weight: torch.Tensor, round_down: bool) -> None:
    """Blend a face (3, h, w) in [0, 255] into the box of a frame in place, with weights (1, h, w).

    A weight of 0 keeps the frame's pixels, which are whole numbers, bit for bit.
    """
    left, top, right, bottom = box
    region = frame[top:bottom, left:right]
    source = torch.from_numpy(region).to(face.device).permute(2, 0, 1).float()
    blended = face.sub_(source).mul_(weight).add_(source)
    if not round_down:
        blended = blended.round_()
    region[:] = blended.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _translation(x: int, y: int) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1.0, y]])


def _box_above_zero(weight: torch.Tensor) -> Box:
    """Return the box of the pixels with a positive weight, one pixel larger on each side within the image."""
    rows, columns = torch.nonzero(weight.amax(dim=1)).flatten(), torch.nonzero(weight.amax(dim=0)).flatten()
    height, width = weight.shape
    x0, x1 = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, width)
    y0, y1 = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)
    return x0, y0, x1, y1


@lru_cache(maxsize=4)
def _ring_and_spread(resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ring (R, R) of zeros and ones, and (cells, cells) weights from the ring's cell means to the field.

    The weights fall with the cube of the distance. They include the division by the ring's share of each cell.
    """
    distance = torch.from_numpy(distance_inside(resolution)).float()
    ring = ((distance < 0) & (distance >= -RING_SHARE * resolution)).float()
    share = F.adaptive_avg_pool2d(ring[None, None], _NUM_CELLS).flatten()
    axis = torch.arange(_NUM_CELLS, dtype=torch.float32)
    places = torch.cartesian_prod(axis, axis)
    closeness = (torch.cdist(places, places).square() + _SOFTNESS**2).pow(-1.5)
    # a cell's pooled difference is its mean times its share, so every ring pixel has the same weight
    return ring, closeness / (closeness @ share)[:, None]
