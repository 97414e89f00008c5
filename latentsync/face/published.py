"""Cropping and pasting exactly as the published system does, artefacts included; `align` and `paste` are the defaults.

Differences from the defaults: the tall crop is sampled without antialiasing and rounded down to whole levels, then
resized by Lanczos-4 without antialiasing; and the whole crop is pasted back, kept pixels included, through two
interpolations.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.face.align import (
    GREY,
    compose,
    covered_box,
    invert,
    pixel_grid,
    tall_size,
    tall_to_square,
    unit_square,
    warp_to_tall,
)
from latentsync.face.paste import soft_edge

_TAPS = 4
"""Lanczos-4: pixels on either side that a resized pixel is interpolated from."""


@torch.inference_mode()
def crop_faces_as_published(
    frames: Sequence[np.ndarray], matrices: np.ndarray, resolution: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Cuts one aligned face out of each frame; arguments and result are those of `align.crop_faces`."""
    width, height = tall_size(resolution)
    across = lanczos4_matrix(width, resolution).to(device).T
    down = lanczos4_matrix(height, resolution).to(device)
    unsqueeze = invert(tall_to_square(resolution))
    crops = torch.empty(len(frames), 3, resolution, resolution, device=device)
    for crop, frame, matrix in zip(crops, frames, matrices, strict=True):
        tall = warp_to_tall(frame, compose(unsqueeze, matrix), width, height, device, antialias=False)
        # float32 coordinates put a whole level a few thousandths below itself
        tall = tall.add_(GREY + 1e-2).clamp_(0, 255).floor_()
        torch.matmul(down @ tall, across, out=crop)
    return crops.round_().clamp_(0, 255).div_(127.5).sub_(1)


def lanczos4_matrix(num_in: int, num_out: int) -> torch.Tensor:
    """(num_out, num_in) float32 weights of OpenCV's INTER_LANCZOS4 along one axis: eight taps whatever the scale.

    Beyond the ends the end pixel is repeated.
    """
    centres = (torch.arange(num_out, dtype=torch.float64) + 0.5) * (num_in / num_out) - 0.5
    taps = centres.floor()[:, None] + torch.arange(1 - _TAPS, _TAPS + 1)
    distance = taps - centres[:, None]
    weights = torch.sinc(distance) * torch.sinc(distance / _TAPS)
    weights /= weights.sum(dim=1, keepdim=True)
    matrix = torch.zeros(num_out, num_in, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.clamp(0, num_in - 1).long(), weights).float()


class PublishedPaster:
    """Blends whole crops into frames, by the soft edge of the crop alone.

    Args:
        resolution: side of the crops in pixels.
        device: where the work is done; only the face's box of a frame travels there and back.
    """

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        self.resolution = resolution
        self.device = torch.device(device)
        self._edge = soft_edge(resolution)[None, None].to(self.device)
        self._unsqueeze = invert(tall_to_square(resolution))

    @torch.inference_mode()
    def paste(self, frame: np.ndarray, crop: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
        """A copy of the frame with the crop blended in.

        Args:
            frame: (h, w, 3) uint8 RGB, unchanged.
            crop: (3, resolution, resolution) in [-1, 1]: generated pixels in the mask, the source's around it.
            matrix: (2, 3) frame to crop, the one the crop was cut with.

        Returns:
            (h, w, 3) uint8; pixels outside the crop are the frame's.
        """
        result = frame.copy()
        matrix = np.asarray(matrix, dtype=np.float64)
        to_tall = compose(self._unsqueeze, matrix)
        width, height = tall_size(self.resolution)
        box = covered_box(invert(to_tall), width, height, frame.shape[1], frame.shape[0], margin=1)
        if box is None:
            return result
        left, top, right, bottom = box
        crop = crop.to(self.device, torch.float32)[None]
        tall = F.interpolate(crop, (height, width), mode="bicubic", antialias=True, align_corners=False)
        face = self._sample(tall, to_tall, box, "border").div_(2).add_(0.5).clamp_(0, 1).mul_(255)
        share = self._sample(self._edge, matrix, box, "zeros")
        region = result[top:bottom, left:right]
        source = torch.from_numpy(region).to(self.device).permute(2, 0, 1).float()
        blended = face.sub_(source).mul_(share).add_(source)
        region[:] = blended.to(torch.uint8).permute(1, 2, 0).cpu().numpy()  # rounds down, as published
        return result

    def _sample(
        self, picture: torch.Tensor, to_picture: np.ndarray, box: tuple[int, int, int, int], padding: str
    ) -> torch.Tensor:
        """(c, h, w) bilinear samples of a picture (1, c, h', w') at the frame's pixels in the box."""
        left, top, right, bottom = box
        size = (0, 0, picture.shape[-1], picture.shape[-2])
        to_unit = compose(unit_square(size), compose(to_picture, np.array([[1.0, 0, left], [0, 1.0, top]])))
        grid = pixel_grid(to_unit, right - left, bottom - top, self.device)
        return F.grid_sample(picture, grid, mode="bilinear", padding_mode=padding, align_corners=False)[0]
