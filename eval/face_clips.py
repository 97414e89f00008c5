"""Aligned face crops of the videos of an evaluation: made when first wanted, shared by all metrics.

Result, reference and source of a sample are cropped alike, by where the face is in the *source*: so a pixel of one lies
where it lies in the others, and a detector that is led astray by a bad result does not change the crop.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from eval.face_geometry import FRAMES_PER_SECOND, FaceGeometry, find_geometry
from eval.not_measured import NotMeasured
from latentsync.audio.sample_source import SAMPLE_RATE
from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector, resolve_detector
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.pingpong import source_index
from latentsync.media.reader import VideoReader
from latentsync.storage.content_cache import ArrayCache, cache_key, content_key
from latentsync.storage.temporary_files import temporary_folder

_CROP_BATCH = 16
_GREY = 127
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
"""Sound samples that belong to one frame."""


@dataclass(frozen=True)
class FaceClip:
    """Aligned crops of one video.

    Attributes:
        crops: (n, R, R, 3) uint8 RGB, a read-only memory map; grey in frames without the face.
        valid: (n,) bool, whether the face is there.
        matrices: (n, 2, 3) float32 frame to crop; NaN where not valid.
    """

    crops: np.ndarray
    valid: np.ndarray
    matrices: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)

    def chunks(self, size: int = _CROP_BATCH) -> Iterator[np.ndarray]:
        """The valid crops in order, (b, R, R, 3), at most `size` at once."""
        indices = np.flatnonzero(self.valid)
        for start in range(0, len(indices), size):
            yield self.crops[indices[start : start + size]]

    def stretches(self, shortest: int = 1) -> list[slice]:
        """Neighbouring frames that all show the face, at least so many."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.valid, [False]]).astype(np.int8)))
        return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]


def common_frames(first: FaceClip, second: FaceClip) -> np.ndarray:
    """(k,) frames that both clips have with a face; NotMeasured where there is none."""
    length = min(len(first), len(second))
    frames = np.flatnonzero(first.valid[:length] & second.valid[:length])
    if len(frames) == 0:
        raise NotMeasured("no frame shows the face in both videos")
    return frames


def paired_chunks(
    first: FaceClip, second: FaceClip, size: int = _CROP_BATCH
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Crops (b, R, R, 3) of the frames that both clips have with a face, at most `size` at once."""
    frames = common_frames(first, second)
    for start in range(0, len(frames), size):
        chosen = frames[start : start + size]
        yield first.crops[chosen], second.crops[chosen]


class FaceClips:
    """Face geometry and crops of videos; a context manager.

    Geometry is kept in `cache` for ever, by content of the video and name of the detector: a few kilobytes a second.
    Crops are 5 MB a second: the last `max_clips` used are kept in a scratch folder, which goes with this object.

    Args:
        cache: folder for what is kept.
        device: where the detector runs and crops are made.
        detector_name: as `latentsync.face.detector.build_detector`; built when a video is new.
        resolution: side of the crops in pixels.
        detector: used instead, under the given name.
        max_clips: crops of so many videos are kept at once.
        scratch: where the scratch folder is made (default: the system's temporary folder).
    """

    def __init__(
        self,
        cache: Path,
        device: torch.device | str = "cpu",
        detector_name: str = "auto",
        resolution: int = 256,
        detector: FaceDetector | None = None,
        max_clips: int = 8,
        scratch: Path | None = None,
    ) -> None:
        if max_clips < 3:
            raise InputError("max_clips must be 3 at least: result, source and reference")
        self.detector_name = resolve_detector(detector_name) if detector is None else detector_name
        self.resolution = resolution
        self.device = torch.device(device)
        self.cache = ArrayCache(cache)
        self._detector = detector
        self._max_clips = max_clips
        self._to_close = ExitStack()
        self._scratch = self._to_close.enter_context(temporary_folder(scratch, "set TMPDIR to another folder"))
        self._clips: OrderedDict[str, tuple[Path, FaceClip]] = OrderedDict()
        self._geometries: OrderedDict[str, FaceGeometry] = OrderedDict()

    def content_key(self, path: Path) -> str:
        """Hash of a file's bytes, remembered in the cache."""
        return content_key(path, self.cache.folder / "keys")

    @property
    def settings_key(self) -> str:
        """Key (40 hex digits) of everything besides the videos that decides a crop."""
        return cache_key("eval crops", 1, self.detector_name, self.resolution, FRAMES_PER_SECOND)

    def geometry(self, video: Path) -> FaceGeometry:
        """Where the faces of a video are, at 25 frames a second.

        Raises:
            InputError: the video cannot be read.
            CheckpointError: the detector's weights are missing.
        """
        key = cache_key(self.content_key(video), self.detector_name)
        if key not in self._geometries:
            if self._detector is None:
                self._detector = build_detector(self.detector_name, self.device)
            self._geometries[key] = find_geometry(video, key, self._detector, self.cache)
            if len(self._geometries) > self._max_clips:
                self._geometries.popitem(last=False)
        self._geometries.move_to_end(key)
        return self._geometries[key]

    def crops(self, video: Path, like: Path | None = None) -> FaceClip:
        """The aligned crops of a video at 25 frames a second.

        Args:
            video: the file.
            like: the video that says where the face is (the sample's source); by default the video itself. Where it is
                shorter it goes on backwards and forwards, as the pipeline plays it.

        Raises:
            InputError: a video cannot be read.
            NotMeasured: the face is never there.
        """
        like = video if like is None else like
        key = cache_key(self.content_key(video), self.content_key(like))
        if key not in self._clips:
            geometry = self.geometry(like)
            if not geometry.valid.any():
                raise NotMeasured(f"no face was found in {like.name}")
            path = self._scratch / key
            self._clips[key] = (path, self._make(video, geometry, path))
            while len(self._clips) > self._max_clips:
                self._clips.popitem(last=False)[1][0].unlink()
        self._clips.move_to_end(key)
        return self._clips[key][1]

    def _make(self, video: Path, geometry: FaceGeometry, path: Path) -> FaceClip:
        """Writes raw crops one batch after the other, then maps the file."""
        matrices = alignment_matrices(geometry.anchors, self.resolution)
        shape = (self.resolution, self.resolution, 3)
        used = []
        with VideoReader(video, Fraction(FRAMES_PER_SECOND)) as frames, path.open("wb") as file:
            iterator = iter(frames)
            while batch := list(islice(iterator, _CROP_BATCH)):
                first = len(used)
                used += [source_index(first + i, len(matrices)) for i in range(len(batch))]
                chosen = matrices[used[first:]]
                crops = np.full((len(batch), *shape), _GREY, dtype=np.uint8)
                seen = np.flatnonzero(~np.isnan(chosen).any(axis=(1, 2)))
                if len(seen):
                    faces = crop_faces([batch[i] for i in seen], chosen[seen], self.resolution, self.device)
                    crops[seen] = ((faces + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
                file.write(crops.tobytes())
        stored = np.memmap(path, np.uint8, "r", shape=(len(used), *shape))
        return FaceClip(stored, geometry.valid[used], matrices[used])

    def samples(self, audio: Path, num_frames: int | None = None) -> np.ndarray:
        """Sound (s,) float32 in [-1, 1] at 16 kHz, as long as so many frames (zeros past its end), or all of it."""
        with AudioSamples.decode(audio) as sound:
            return sound.read(0, sound.num_samples if num_frames is None else num_frames * SAMPLES_PER_FRAME)

    def frames(self, video: Path) -> VideoReader:
        """The whole frames of a video at 25 frames a second."""
        return VideoReader(video, Fraction(FRAMES_PER_SECOND))

    def close(self) -> None:
        """Removes the scratch folder."""
        self._clips.clear()
        self._to_close.close()

    def __enter__(self) -> "FaceClips":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
