"""How the first pass reads a video, and the faces that it finds in a part of the video."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from latentsync.face.describer import DescriberChoice
from latentsync.face.detected_faces import DetectedFaces, detect_faces, frames_before
from latentsync.face.detection import FaceDetector, FollowingDetector
from latentsync.face.frames import reduced_size
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import VideoInfo
from latentsync.media.reader import VideoReader

_DETECTION_BATCH = 16


@dataclass(frozen=True)
class FaceReading:
    """How a video is read and searched for faces; picklable.

    Attributes:
        video: the video.
        fps: frames per second at which it is read.
        frame_size: (w, h) of its frames in pixels.
        size: (w, h) to which they are reduced for the detector.
        scale_flags: settings of ffmpeg's `scale` filter.
        batch_size: frames detected together.
        exact: faces are detected fully in every frame.
        num_frames: number of frames, approximately.
        max_frames: number of frames after which reading stops; None: at the end of the video.
        describer: descriptor of people, which each process builds.
    """

    video: Path
    fps: Fraction
    frame_size: tuple[int, int]
    size: tuple[int, int]
    scale_flags: str
    batch_size: int
    exact: bool
    num_frames: int
    max_frames: int | None
    describer: DescriberChoice

    @classmethod
    def of(
        cls,
        video: VideoInfo,
        fps: Fraction,
        detector: FaceDetector,
        max_frames: int | None,
        exact: bool,
        describer: DescriberChoice | None = None,
    ) -> "FaceReading":
        """Return how a video is read for a detector: reduced for one that follows faces, except with `exact`."""
        frame_size = (video.width, video.height)
        size, flags, batch_size = frame_size, SCALE_FLAGS, _DETECTION_BATCH
        if isinstance(detector, FollowingDetector) and not exact:
            size, batch_size = reduced_size(*frame_size, detector.longest_side), 2 * DETECTION_INTERVAL
            flags = SCALE_FLAGS if size == frame_size else REDUCE_FLAGS
        num_frames = video.num_frames_at(fps)
        num_frames = num_frames if max_frames is None else min(max_frames, num_frames)
        found = num_frames, max_frames, describer or DescriberChoice()
        return cls(Path(video.path), fps, frame_size, size, flags, batch_size, exact, *found)

    def detect(
        self,
        detector: FaceDetector,
        progress: Callable[[int], None],
        start: int = 0,
        num_frames: int | None = None,
    ) -> Generator[DetectedFaces, None, None]:
        """Yield the faces of each batch of a part of the video; they equal those of the whole video.

        Args:
            detector: the face detector.
            progress: called with the number of frames of the part with known faces after each batch.
            start: first frame, which begins a batch.
            num_frames: length of the part, which may end earlier with the video; None: all that is read.
        """
        num_before = frames_before(start, self.batch_size)
        if num_frames is None and self.max_frames is not None:
            num_frames = self.max_frames - start
        num_read = None if num_frames is None else num_before + num_frames
        first, interval = start - num_before, 1 if self.exact else DETECTION_INTERVAL
        files = self.video, self.fps, num_read, self.size
        with VideoReader(*files, first_frame=first, seek=False, scale_flags=self.scale_flags) as frames:
            found = self.frame_size, self.batch_size, interval, self.describer.build(), num_before, progress
            yield from detect_faces(frames, detector, *found)


DetectFaces = Callable[[FaceReading, FaceDetector, Callable[[int, int], None]], Generator[DetectedFaces, None, None]]
"""Yield the faces of each batch of a video, and report the number of finished frames and of all frames."""


def detect_here(
    reading: FaceReading, detector: FaceDetector, progress: Callable[[int, int], None]
) -> Generator[DetectedFaces, None, None]:
    """Yield the faces of each batch of a video in this process."""
    return reading.detect(detector, lambda done: progress(done, max(reading.num_frames, done)))
