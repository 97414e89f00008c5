"""Aligned face crops of the evaluated videos: created on first use, shared by all metrics.

Result, reference and source of a pair are cropped with the face positions of the *source*. So equal pixels of the crops
show equal places of the frames, and a bad result cannot mislead the detector.
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
from eval.pairs import Pair
from eval.source_order import repeat_of, shown_frame
from latentsync.audio.sample_source import SAMPLE_RATE
from latentsync.errors import InputError, NotMeasured
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector, resolve_detector
from latentsync.judges.crop_measures import to_crops
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.repeated_reader import Repeat
from latentsync.storage.content_cache import ArrayCache, cache_key, content_key
from latentsync.storage.temporary_files import temporary_folder

_CROP_BATCH = 16
_GREY = 127
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
"""Audio samples per video frame."""


@dataclass(frozen=True)
class FaceClip:
    """Aligned crops of one video.

    Attributes:
        crops: (n, R, R, 3) uint8 RGB, a read-only memory map; grey in frames without the face.
        valid: (n,) bool, True in frames that contain the face.
        matrices: (n, 2, 3) float32 from frame to crop; NaN in frames without the face.
    """

    crops: np.ndarray
    valid: np.ndarray
    matrices: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)

    def valid_batches(self, size: int = _CROP_BATCH, stride: int = 1) -> Iterator[np.ndarray]:
        """Yield the crops (b, R, R, 3) of every `stride`-th valid frame in order, at most `size` at once."""
        indices = np.flatnonzero(self.valid)[::stride]
        for start in range(0, len(indices), size):
            yield self.crops[indices[start : start + size]]

    def valid_spans(self, min_frames: int = 1) -> list[slice]:
        """Return the spans of consecutive valid frames that have at least `min_frames`."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.valid, [False]]).astype(np.int8)))
        return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= min_frames]


def common_frames(first: FaceClip, second: FaceClip) -> np.ndarray:
    """Return the (k,) frames that are valid in both clips; raise NotMeasured if there are none."""
    length = min(len(first), len(second))
    frames = np.flatnonzero(first.valid[:length] & second.valid[:length])
    if len(frames) == 0:
        raise NotMeasured("no frame shows the face in both videos")
    return frames


def paired_batches(
    first: FaceClip, second: FaceClip, size: int = _CROP_BATCH, stride: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield crops (b, R, R, 3) of both clips in every `stride`-th frame of `common_frames`, at most `size` at once."""
    frames = common_frames(first, second)[::stride]
    for start in range(0, len(frames), size):
        chosen = frames[start : start + size]
        yield first.crops[chosen], second.crops[chosen]


class FaceClips:
    """Face geometry and crops of videos; a context manager.

    Geometry is stored in `cache` permanently, by content of the video and name of the detector: a few kilobytes per
    second. Crops take 5 MB per second: those of the `max_clips` most recently used videos are stored in a scratch
    folder, which is removed on close.

    Args:
        cache: folder of the permanent cache.
        device: device of the detector and of the cropping.
        detector_name: see `latentsync.face.detector.build_detector`; the detector is built for the first new video.
        resolution: side of the crops in pixels.
        detector: used instead of a built one, under the given name.
        max_clips: number of videos whose crops are stored at once.
        scratch: parent of the scratch folder (default: the system's temporary folder).
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
        """Return the hash of a file's bytes, which is cached."""
        return content_key(path, self.cache.folder / "keys")

    @property
    def settings_key(self) -> str:
        """Key (40 hex digits) of everything besides the videos that determines a crop."""
        return cache_key("eval crops", 1, self.detector_name, self.resolution, FRAMES_PER_SECOND)

    def geometry(self, video: Path) -> FaceGeometry:
        """Return the face positions of a video at 25 frames per second.

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

    def crops(self, video: Path, like: Path | None = None, repeat: Repeat | None = None) -> FaceClip:
        """Return the aligned crops of a video at 25 frames per second.

        Args:
            video: the file.
            like: the video whose face positions are used (the pair's source); by default the video itself.
            repeat: how `like` is repeated if it is shorter; None if that is unknown.

        Raises:
            InputError: a video cannot be read.
            NotMeasured: no frame contains the face, or `like` is shorter and `repeat` unknown.
        """
        like = video if like is None else like
        key = cache_key(self.content_key(video), self.content_key(like), str(repeat))
        if key not in self._clips:
            geometry = self.geometry(like)
            if not geometry.valid.any():
                raise NotMeasured(f"no face was found in {like.name}")
            path = self._scratch / key
            self._clips[key] = (path, self._crop(video, geometry, repeat, path))
            while len(self._clips) > self._max_clips:
                self._clips.popitem(last=False)[1][0].unlink()
        self._clips.move_to_end(key)
        return self._clips[key][1]

    def of_result(self, pair: Pair) -> FaceClip:
        """Return the crops of a pair's result, see `crops`."""
        return self.crops(pair.result, pair.source, repeat_of(pair))

    def of_reference(self, pair: Pair) -> FaceClip:
        """Return the crops of what the result is compared with frame by frame: the reference, else the source."""
        return self.crops(pair.reference_or_source, pair.source, repeat_of(pair))

    def _crop(self, video: Path, geometry: FaceGeometry, repeat: Repeat | None, path: Path) -> FaceClip:
        """Write raw crops batch by batch, then map the file into memory."""
        matrices = alignment_matrices(geometry.anchors, self.resolution)
        shape = (self.resolution, self.resolution, 3)
        used = []
        with VideoReader(video, Fraction(FRAMES_PER_SECOND)) as frames, path.open("wb") as file:
            iterator = iter(frames)
            while batch := list(islice(iterator, _CROP_BATCH)):
                first = len(used)
                used += [shown_frame(first + i, len(matrices), repeat) for i in range(len(batch))]
                chosen = matrices[used[first:]]
                crops = np.full((len(batch), *shape), _GREY, dtype=np.uint8)
                valid = np.flatnonzero(~np.isnan(chosen).any(axis=(1, 2)))
                if len(valid):
                    crops[valid] = to_crops(
                        crop_faces([batch[i] for i in valid], chosen[valid], self.resolution, self.device)
                    )
                file.write(crops.tobytes())
        stored = np.memmap(path, np.uint8, "r", shape=(len(used), *shape))
        return FaceClip(stored, geometry.valid[used], matrices[used])

    def samples(self, audio: Path, video: Path, num_frames: int | None = None) -> np.ndarray:
        """Return the audio (s,) of a measured video, float32 in [-1, 1] at 16 kHz, from its first frame on.

        Args:
            audio: an audio file, or a video with audio.
            video: the measured video. If it is `audio`, what sounds before its first frame is left out.
            num_frames: length in video frames, zero-padded at the end; None for the whole file.
        """
        start_s = probe_video(video).late_s if audio.resolve() == video.resolve() else 0.0
        with AudioSamples.decode(audio, start_s=start_s) as samples:
            return samples.read(0, samples.num_samples if num_frames is None else num_frames * SAMPLES_PER_FRAME)

    def frames(self, video: Path) -> VideoReader:
        """Open the whole frames of a video at 25 frames per second."""
        return VideoReader(video, Fraction(FRAMES_PER_SECOND))

    def close(self) -> None:
        """Remove the scratch folder."""
        self._clips.clear()
        self._to_close.close()

    def __enter__(self) -> "FaceClips":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
