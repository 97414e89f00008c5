"""The first pass in worker processes: parts of the video are searched for faces in parallel, and tracked as one."""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from latentsync.executors.base import Executor, Work
from latentsync.face.detected_faces import DetectedFaces
from latentsync.face.detection import FaceDetector
from latentsync.pipelines.face_reading import FaceReading, detect_here
from latentsync.pipelines.segment_progress import SegmentProgress, reporting
from latentsync.pipelines.segment_results import finished_segments
from latentsync.pipelines.segments import Segment

MIN_SEARCHED_FRAMES = 1500
"""Frames of the shortest part: on one core 30 s of work, longer than a worker takes to start."""

LoadDetector = Callable[[torch.device, bool], FaceDetector]
"""Load the face detector on a device, that of the option `exact` if the second argument is True."""


@dataclass(frozen=True)
class FaceTask:
    """A part of a video to search.

    Attributes:
        segment: its frames, which begin with a batch.
        is_last: read to the end of the video, whose length is known only approximately.
        progress_file: receives the progress of the worker.
    """

    segment: Segment
    is_last: bool
    progress_file: Path

    @property
    def progress(self) -> SegmentProgress:
        """Progress of the worker."""
        return SegmentProgress(self.segment, self.progress_file)


@dataclass(frozen=True)
class FaceWork(Work[FaceTask, list[DetectedFaces]]):
    """What a worker does: load the detector once, and search parts of one video.

    Attributes:
        reading: how the video is read.
        load_detector: loads the detector on a device; picklable.
        on_accelerators: see `uses_device`.
    """

    reading: FaceReading
    load_detector: LoadDetector
    on_accelerators: bool

    @property
    def name(self) -> str:
        """Name in the file names of logs."""
        return "faces"

    @property
    def title(self) -> str:
        """Name in messages."""
        return "the search for faces"

    @property
    def uses_device(self) -> bool:
        """True if the detector runs on accelerators."""
        return self.on_accelerators

    def load(self, device: torch.device) -> Callable[[FaceTask], list[DetectedFaces]]:
        """Load the detector and return the function that searches a part."""
        detector = self.load_detector(device, self.reading.exact)
        reading = replace(self.reading, describer=replace(self.reading.describer, device=str(device)))
        return lambda task: self._search(reading, detector, task)

    def _search(self, reading: FaceReading, detector: FaceDetector, task: FaceTask) -> list[DetectedFaces]:
        segment, progress = task.segment, task.progress

        def report(done: int) -> None:
            progress("faces", segment.start + done, segment.stop)

        num_frames = None if task.is_last else len(segment)
        return list(reading.detect(detector, report, segment.start, num_frames))


@dataclass(frozen=True)
class FaceWorkers:
    """Find the faces of a video in several workers; a `lipsync_pipeline.FirstPass`.

    The faces equal those of one process bit for bit. A video that is too short to be divided is searched in this
    process.

    Attributes:
        executor: runs the workers.
        num_workers: number of workers, and of parts.
        load_detector: loads the detector of a worker on its device; picklable.
        on_accelerators: the detector runs on accelerators, one worker on each.
        min_frames: frames of the shortest part.
    """

    executor: Executor
    num_workers: int
    load_detector: LoadDetector
    on_accelerators: bool
    min_frames: int = MIN_SEARCHED_FRAMES

    def __call__(
        self, folder: Path, reading: FaceReading, detector: FaceDetector, progress: Callable[[int, int], None]
    ) -> Generator[DetectedFaces, None, None]:
        """Yield the faces of each batch, in order.

        Args:
            folder: folder for temporary files, which the workers share.
            reading: how the video is read.
            detector: detector of this process, for a short video.
            progress: called with the number of finished frames and of all frames.

        Raises:
            LatentSyncError: a part cannot be searched.
        """
        parts = plan_parts(reading.num_frames, reading.batch_size, self.num_workers, self.min_frames)
        if len(parts) == 1:
            yield from detect_here(reading, detector, progress)
            return
        tasks = [FaceTask(part, part is parts[-1], folder / f"faces_{i:04d}.progress") for i, part in enumerate(parts)]
        work = FaceWork(reading, self.load_detector, self.on_accelerators)
        waiting, found = deque(tasks), dict[FaceTask, list[DetectedFaces]]()
        progresses = [task.progress for task in tasks]
        with reporting(lambda done, total: progress(int(done), total), progresses) as check:
            for task, batches in finished_segments(self.executor, work, tasks, check):
                found[task] = batches
                while waiting and waiting[0] in found:
                    yield from found.pop(waiting.popleft())


def plan_parts(num_frames: int, batch_size: int, num_parts: int, min_frames: int) -> list[Segment]:
    """Divide a video into parts of about equal length that begin with a batch.

    Args:
        num_frames: length of the video.
        batch_size: frames detected together.
        num_parts: largest number of parts.
        min_frames: frames of the shortest part, about.
    """
    num_batches = -(-num_frames // batch_size)
    num_parts = max(1, min(num_parts, num_frames // min_frames, num_batches))
    starts = [num_batches * i // num_parts * batch_size for i in range(num_parts)]
    return [Segment(start, stop) for start, stop in pairwise([*starts, num_frames])]
