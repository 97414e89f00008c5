"""Resize parts of images by area: means over boxes of pixels, from summed-area tables.

A table costs one pass over the image; a resized part then costs only its own pixels, however large its source is, and
all parts of a size are resized at once.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch


class AreaMeans:
    """Means over boxes of pixels in a batch of images; pixels outside an image count as mid-grey.

    Args:
        images: n uint8 images (h, w, 3) of one size.
        device: device of the tables and the results.
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device) -> None:
        self.num_images, (self.height, self.width) = len(images), images[0].shape[:2]
        tables = np.empty((self.num_images, self.height + 1, self.width + 1, 3), dtype=np.int32)
        for image, table in zip(images, tables, strict=True):
            cv2.integral(np.ascontiguousarray(image), table, sdepth=cv2.CV_32S)
        self._sums = torch.from_numpy(tables).to(device).view(-1, 3)

    def __call__(self, image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        """Return resized parts of the images.

        Args:
            image: (k,) index of each part's image.
            rows: (k, r, 2) int, first and last (excluded) pixel row of each row of the result.
            columns: (k, c, 2) int, likewise.

        Returns:
            (k, 3, r, c) float32 in [-1, 1), in channels-last memory.
        """
        num_rows, num_columns = rows.shape[1], columns.shape[1]
        inside_y, inside_x = rows.clip(0, self.height), columns.clip(0, self.width)
        # the four corners of every box: first ends, then starts, in both directions
        y = np.concatenate([inside_y[..., 1], inside_y[..., 0]], axis=1) + image[:, None] * (self.height + 1)
        x = np.concatenate([inside_x[..., 1], inside_x[..., 0]], axis=1)
        index = torch.from_numpy(y[:, :, None] * (self.width + 1) + x[:, None]).to(self._sums.device)
        corners = self._sums.index_select(0, index.flatten()).view(*index.shape, 3)
        strips = corners[:, :num_rows] - corners[:, num_rows:]
        sums = strips[:, :, :num_columns] - strips[:, :, num_columns:]
        # sums of whole numbers are exact; divided in this order, the means equal torch's adaptive pooling bit for bit
        grey = 255 * _lengths(inside_y)[:, :, None] * _lengths(inside_x)[:, None]
        means = sums.mul_(2).sub_(self._tensor(grey)).float().div_(256)
        means.div_(self._tensor(_lengths(rows)[:, :, None])).div_(self._tensor(_lengths(columns)[:, None]))
        return means.permute(0, 3, 1, 2)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """Return (k, r, c) numbers as an int32 tensor (k, r, c, 1) on the device."""
        return torch.from_numpy(values.astype(np.int32)).to(self._sums.device)[..., None]


def bins(index: np.ndarray, num_bins: np.ndarray | int, length: np.ndarray | int) -> np.ndarray:
    """Return first and last (excluded) pixel, along a new last axis, of equal, slightly overlapping bins.

    Args:
        index: numbers of the bins.
        num_bins: into how many bins the pixels are divided, as in torch's adaptive pooling.
        length: number of pixels.
    """
    return np.stack([index * length // num_bins, -(-(index + 1) * length // num_bins)], axis=-1)


def _lengths(bounds: np.ndarray) -> np.ndarray:
    """Return last minus first."""
    return bounds[..., 1] - bounds[..., 0]
