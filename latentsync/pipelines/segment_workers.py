"""The second pass in worker processes: segments are generated in parallel and joined without a second encode."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from latentsync.errors import LatentSyncError
from latentsync.executors.base import Executor, Work
from latentsync.media.joining import VideoPart, join_videos
from latentsync.media.writer import MADE_BY, MADE_RESULT
from latentsync.pipelines.contact_sheet import join_sheets
from latentsync.pipelines.lipsync_job import LipsyncJob, LipsyncOutputs
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline, writing
from latentsync.pipelines.people import Person
from latentsync.pipelines.person_stages import person_windows
from latentsync.pipelines.report import OCCLUDED
from latentsync.pipelines.segment_generation import SegmentedJob, frames_read, generate_segment
from latentsync.pipelines.segment_progress import SegmentProgress, reporting
from latentsync.pipelines.segment_results import finished_segments
from latentsync.pipelines.segment_seeks import MIN_SEEK_S, SegmentSeeks
from latentsync.pipelines.segments import MIN_SEGMENT_FRAMES, Segment, plan_segments

logger = logging.getLogger(__name__)

LoadPipeline = Callable[[torch.device], LipsyncPipeline]


@dataclass(frozen=True)
class SegmentTask:
    """A segment to generate.

    Attributes:
        number: of the segment, from 0.
        segment: its frames.
        video: the video to write, without sound.
        seek: find it in the source by seeking, see `SegmentSeeks`.
    """

    number: int
    segment: Segment
    video: Path
    seek: bool

    @property
    def progress(self) -> SegmentProgress:
        """Progress of the worker."""
        return SegmentProgress(self.segment, self.video.with_suffix(".progress"))


@dataclass(frozen=True)
class SegmentWork(Work[SegmentTask, list[np.ndarray]]):
    """What a worker does: load the networks once, and generate segments of one job.

    Attributes:
        job: the job.
        load_pipeline: loads the networks on a device; picklable.
        on_accelerators: see `uses_device`.
    """

    job: SegmentedJob
    load_pipeline: LoadPipeline
    on_accelerators: bool

    @property
    def name(self) -> str:
        """Name in the file names of logs."""
        return "segments"

    @property
    def title(self) -> str:
        """Name in messages."""
        return "the generation of segments"

    @property
    def uses_device(self) -> bool:
        """True if the networks run on accelerators."""
        return self.on_accelerators

    def load(self, device: torch.device) -> Callable[[SegmentTask], list[np.ndarray]]:
        """Load the networks and return `generate_segment` for a task."""
        pipeline = self.load_pipeline(device)
        return lambda task: generate_segment(
            pipeline, self.job, task.segment, task.video, task.progress, seek=task.seek
        )


@dataclass(frozen=True)
class SegmentWorkers:
    """Generate the mouths of a job in several workers; a `lipsync_pipeline.SecondPass`.

    Frames equal those of one process bit for bit before they are encoded. A job that is too short to be cut is
    generated in this process.

    Attributes:
        executor: runs the workers.
        num_workers: number of workers, and of segments.
        load_pipeline: loads the networks of a worker on its device; picklable.
        on_accelerators: the networks run on accelerators, one worker on each.
        min_frames: see `plan_segments`.
        min_seek_s: see `segment_seeks.MIN_SEEK_S`.
    """

    executor: Executor
    num_workers: int
    load_pipeline: LoadPipeline
    on_accelerators: bool
    min_frames: int = MIN_SEGMENT_FRAMES
    min_seek_s: float = MIN_SEEK_S

    def __call__(self, pipeline: LipsyncPipeline, job: LipsyncJob, people: Sequence[Person]) -> list[Path]:
        """Generate and join the segments; return the files written beside the result.

        Raises:
            LatentSyncError: a segment cannot be generated.
        """
        if job.frame_callback is not None:
            raise ValueError("workers pass no frames on: leave frame_callback out")
        windows = [person_windows(job, person, pipeline.num_frames) for person in people]
        segments = plan_segments(windows, job.num_frames, self.num_workers, self.min_frames)
        if len(segments) == 1:
            return pipeline.write(job, pipeline.generate(job, people))
        stages = [pipeline.stages(job, person) for person in people]
        shown = [frames_read(stages, segment) for segment in segments]
        with SegmentSeeks(job, shown, len(people[0].plan), self.min_seek_s) as seeks:
            tasks = [
                SegmentTask(i, segment, job.folder / f"segment_{i:04d}.mp4", seeks.uses_seek(i))
                for i, segment in enumerate(segments)
            ]
            self._generate(job, people, tasks, seeks)
        return _join(job, tasks)

    def _generate(
        self, job: LipsyncJob, people: Sequence[Person], tasks: Sequence[SegmentTask], seeks: SegmentSeeks
    ) -> None:
        """Write the videos of all segments, and note the frames in which something was in front of a mouth."""
        work = SegmentWork(SegmentedJob.of(job, people), self.load_pipeline, self.on_accelerators)

        def without_seek(task: SegmentTask) -> SegmentTask | None:
            if not task.seek or seeks.is_exact(task.number, check):
                return None
            logger.warning("frames %d to %d run again: a seek was inexact", task.segment.start, task.segment.stop)
            return replace(task, seek=False)

        with reporting(partial(job.progress, "lips"), [task.progress for task in tasks]) as check:
            for _, flags in finished_segments(self.executor, work, tasks, check, without_seek):
                for person, occluded in zip(people, flags, strict=True):
                    if OCCLUDED in person.notes:
                        person.notes[OCCLUDED][occluded] = True


def _join(job: LipsyncJob, tasks: Sequence[SegmentTask]) -> list[Path]:
    """Write the outputs of the job from those of its segments; return those beside the result."""
    outputs, staged = job.outputs, job.staged
    parts = [LipsyncOutputs.of(task.video, job.options.compare) for task in tasks]

    def join(videos: Sequence[Path | None], path: Path, comment: str) -> None:
        named = zip(videos, tasks, strict=True)
        written = [VideoPart(video, len(task.segment)) for video, task in named if video is not None]
        sound = job.sound, job.duration_s
        try:
            join_videos(written, staged.path_of(path), job.fps, *sound, pad_audio=job.has_silent_end, comment=comment)
        except LatentSyncError as error:
            raise type(error)(f"{path} was not written: {error}") from error

    join([part.video for part in parts], outputs.video, MADE_RESULT)
    if outputs.comparison is not None:
        join([part.comparison for part in parts], outputs.comparison, MADE_BY)
    with writing(outputs.sheet):
        join_sheets([part.sheet for part in parts if part.sheet.exists()], staged.path_of(outputs.sheet))
    return [path for path in (outputs.comparison, outputs.sheet) if path is not None]
