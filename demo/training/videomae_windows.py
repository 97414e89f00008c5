"""Training and validation data of the small VideoMAE: masked windows, and windows with corrupted frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from demo.synthetic.clip_set import Clip
from demo.training.demo_network import ClipItems
from latentsync.data.batching import ItemKey, item_generator
from latentsync.judges.videomae import VideoMaeSize, to_unit_range

WINDOWS_PER_CLIP = 8
SHUFFLED_SHARES = (0.25, 0.5, 1.0)
LIP_SHIFTS = (1, 2, 4, 8)
_MASKED_SHARE = 0.75
_START_STRIDE = 2
"""Windows of a clip start at least this many frames apart."""
_MAX_GAIN, _MAX_OFFSET = 0.2, 0.08
"""Colour changes of a view, per channel."""


class MaskedWindows(ClipItems):
    """Items of several windows of one clip, with the masks and colour changes of two views.

    Args:
        clips: the clips.
        seed: of all random choices.
        size: dimensions of the network.
    """

    def __init__(self, clips: Sequence[Clip], seed: int, size: VideoMaeSize):
        super().__init__(clips, seed)
        self.size = size
        self.num_patches = (size.image_size // size.patch_size) ** 2 * (size.num_frames // size.tubelet_size)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """Return one item of w windows.

        Returns:
            `pixels` (w, f, 3, R, R) uint8; for both views `masked` (2, patches) bool, `gain` and `offset` (2, 3)
            float32; `clip` its folder.
        """
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        num_starts = (len(clip.crops) - self.size.num_frames) // _START_STRIDE + 1
        starts = _START_STRIDE * generator.permutation(num_starts)[:WINDOWS_PER_CLIP]
        windows = np.stack([clip.crops[start : start + self.size.num_frames] for start in starts])
        if generator.random() < 0.5:
            windows = windows[..., ::-1, :]
        order = generator.random((2, self.num_patches)).argsort(-1)
        return {
            "pixels": np.ascontiguousarray(windows.transpose(0, 1, 4, 2, 3)),
            "masked": order < int(_MASKED_SHARE * self.num_patches),
            "gain": (1 + generator.uniform(-_MAX_GAIN, _MAX_GAIN, (2, 3))).astype(np.float32),
            "offset": generator.uniform(-_MAX_OFFSET, _MAX_OFFSET, (2, 3)).astype(np.float32),
            "clip": str(clip.folder),
        }


def two_views(batch: Mapping[str, Any], image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two views (b w, 2, f, 3, h, w) in [0, 1] of each window, and their masks (b w, 2, patches)."""
    num_windows = batch["pixels"].shape[1]
    frames = to_unit_range(batch["pixels"].flatten(0, 1).float() / 127.5 - 1, image_size)[:, None]
    gain, offset, masked = (batch[name].repeat_interleave(num_windows, dim=0) for name in ("gain", "offset", "masked"))
    return (frames * gain[:, :, None, :, None, None] + offset[:, :, None, :, None, None]).clamp(0, 1), masked


def corrupted_windows(
    clip: Clip, other: Clip, num_frames: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return a window under "true" and its corrupted copies, each (f, 3, R, R) uint8; `other` is another clip."""
    start = int(generator.integers(len(clip.crops) - num_frames - max(LIP_SHIFTS) + 1))
    crops = clip.crops[start : start + num_frames + max(LIP_SHIFTS)].transpose(0, 3, 1, 2)
    true, half = crops[:num_frames], crops.shape[2] // 2

    def with_lips(lower: np.ndarray) -> np.ndarray:
        return np.concatenate([true[:, :, :half], lower[:, :, half:]], axis=2)

    windows = {"true": true}
    for share in SHUFFLED_SHARES:
        order = np.arange(num_frames)
        chosen = generator.permutation(num_frames)[: round(share * num_frames)]
        order[chosen] = np.roll(chosen, 1)
        windows[f"shuffled_{share:g}"] = true[order]
    for shift in LIP_SHIFTS:
        windows[f"lips_{shift}"] = with_lips(crops[shift : shift + num_frames])
    windows["lips_frozen"] = with_lips(np.repeat(true[:1], num_frames, axis=0))
    windows["other_clip"] = other.crops[start : start + num_frames].transpose(0, 3, 1, 2)
    return windows
