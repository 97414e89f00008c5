"""Read the masks of things in front of the face: a video, or a folder of images, with one mask per source frame."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import MAX_PIXELS
from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.reader import VideoReader

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")

_TOLERANCE_S = 0.5
"""Difference of two videos' lengths, as their files state them, above which the numbers of frames surely differ."""

_BLACK, _WHITE = 16, 240
"""Levels that count as 0 and 255: lossy encoders add noise of this size to plain areas."""

_COUNTING_SIZE = (16, 16)

FrameReader = AbstractContextManager[Iterable[tuple[int, NDArray[np.uint8]]]]
"""Reader of pairs (source index, frame), see `RepeatedReader`."""


@dataclass(frozen=True)
class MaskVideo:
    """A video of masks."""

    info: VideoInfo

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.info.width, self.info.height

    @property
    def files(self) -> list[Path]:
        """Files that are read."""
        return [self.info.path]


@dataclass(frozen=True)
class MaskFolder:
    """A folder of images, one for each source frame, in the natural order of their names (2 before 10)."""

    path: Path
    files: list[Path]
    size: tuple[int, int]


OccluderMasks = MaskVideo | MaskFolder


def open_masks(path: Path) -> OccluderMasks:
    """Find the masks at a path.

    Raises:
        InputError: it is no video and no folder of PNG or JPEG images of one size.
    """
    if not path.is_dir():
        return MaskVideo(probe_video(path))
    names = [name for name in path.iterdir() if name.suffix.lower() in IMAGE_SUFFIXES and not name.name.startswith(".")]
    files = sorted(names, key=_natural_order)
    if not files:
        raise InputError(f"{path} has no PNG or JPEG image: name a mask video, or a folder with one mask per frame")
    sizes = [_image_size(file) for file in files]
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(f"{file} has {_pixels(size)}, {files[0].name} {_pixels(sizes[0])}: give masks of one size")
    return MaskFolder(path, files, sizes[0])


def check_masks(masks: OccluderMasks, video: VideoInfo, fps: Fraction) -> None:
    """Check the size of the masks, and their number as far as it is known before they are decoded.

    Args:
        masks: the masks.
        video: the source video.
        fps: frames per second at which it is read.

    Raises:
        InputError: they do not fit the video.
    """
    if masks.size != (video.width, video.height):
        raise InputError(
            f"{masks.path} has {_pixels(masks.size)}, {video.path} {_pixels((video.width, video.height))}: "
            "give masks of the video's size"
        )
    if video.duration_s <= 0:
        return
    expected = video.num_frames_at(fps)
    if isinstance(masks, MaskFolder):
        found = len(masks.files)
    else:
        found = masks.info.num_frames_at(fps) if masks.info.duration_s > 0 else expected
    if abs(found - expected) > _TOLERANCE_S * fps:
        raise _other_number(masks, str(found), video.path, expected, fps)


def check_number(masks: OccluderMasks, video: Path, num_frames: int, is_whole: bool, fps: Fraction) -> None:
    """Check the number of masks exactly; a mask video is decoded for it, without keeping a frame.

    Args:
        masks: the masks.
        video: the source video.
        num_frames: number of its frames that were read.
        is_whole: whether these are all frames of the video; otherwise more masks are accepted.
        fps: frames per second at which it was read.

    Raises:
        InputError: there are fewer or more masks than frames.
    """
    if isinstance(masks, MaskFolder):
        found = len(masks.files)
    else:
        with VideoReader(masks.path, fps, num_frames + 1, _COUNTING_SIZE, info=masks.info) as reader:
            found = sum(1 for _ in reader)
    if found < num_frames or (is_whole and found > num_frames):
        is_counted = isinstance(masks, MaskFolder) or found <= num_frames
        raise _other_number(masks, str(found) if is_counted else f"more than {num_frames}", video, num_frames, fps)


def read_masks(
    masks: OccluderMasks,
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    open_reader: Callable[[Path], FrameReader],
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield (source index, frame, mask) for each frame; mask is (h, w) uint8, 255 where something is in front.

    Memory holds one mask. Levels of at most 16 count as 0, of 240 and more as 255.

    Args:
        masks: the masks.
        frames: pairs (source index, frame) of the source video, in any order.
        open_reader: returns a reader of another video with the same number and order of frames.

    Raises:
        InputError: a mask cannot be read, or there are too few.
    """
    if isinstance(masks, MaskFolder):
        for index, frame in frames:
            if index >= len(masks.files):
                raise _too_few(masks)
            yield index, frame, _read_image(masks.files[index], masks.size)
        return
    with open_reader(masks.path) as reader:
        for (index, frame), (mask_index, mask) in zip(frames, reader, strict=False):
            if mask_index != index:
                raise ValueError(f"the mask's reader is at frame {mask_index}, the video's at {index}")
            yield index, frame, _without_noise(np.asarray(Image.fromarray(mask).convert("L")))


def _without_noise(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask with the levels up to `_BLACK` as 0, from `_WHITE` on as 255, and those between spread."""
    table = np.clip((np.arange(256) - _BLACK) * 255 / (_WHITE - _BLACK), 0, 255).round().astype(np.uint8)
    return table[mask]


def _read_image(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    if _image_size(file) != size:
        raise InputError(f"{file} has changed during the job: its size is another")
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.mode.startswith("I"):  # 16 bits, which `convert` would clip
                return _without_noise((np.asarray(image) >> 8).astype(np.uint8))
            return _without_noise(np.asarray(image.convert("L")))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{file} cannot be decoded: write the mask again") from error


def _image_size(file: Path) -> tuple[int, int]:
    """Return width and height of an image from its header."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            size = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} is not a PNG or JPEG image that can be read: write the mask again") from error
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{file} has {_pixels(size)}: give masks of the video's size")
    return size


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key under which numbers in names are compared by value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _pixels(size: tuple[int, int]) -> str:
    return f"frames of {size[0]} x {size[1]} pixels"


def _too_few(masks: OccluderMasks) -> InputError:
    return InputError(f"{masks.path} has fewer masks than the video has frames: give one mask for each frame")


def _other_number(masks: OccluderMasks, found: str, video: Path, num_frames: int, fps: Fraction) -> InputError:
    return InputError(
        f"{masks.path} has {found} masks, {video} has {num_frames} frames at {float(fps):g} per second: give one mask "
        "for each frame, or choose the frame rate 'source', which is the video's own"
    )
