"""Generate one segment of a result, in a worker: its video without sound, and its part of the contact sheet."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from latentsync.face.face_plan import FacePlan
from latentsync.pipelines.lipsync_job import LipsyncJob, Progress
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.people import Person
from latentsync.pipelines.person_stages import PersonStages
from latentsync.pipelines.report import OCCLUDED
from latentsync.pipelines.segments import Segment
from latentsync.pipelines.voices import Voice, Voices
from latentsync.pipelines.window_stages import JobFrame


@dataclass(frozen=True)
class FoundPerson:
    """A person whom the first pass has found, without open files.

    Attributes:
        name, plan: see `Person`.
        voice: number of the person's voice in the job.
    """

    name: str
    plan: FacePlan
    voice: int


@dataclass(frozen=True)
class SegmentedJob:
    """What workers know of a job: small, and without open files.

    Attributes:
        video: source video.
        voices: speech of each person.
        options: options of the job.
        people: the people to generate.
        folder: folder for temporary files.
    """

    video: Path
    voices: Voices
    options: LipsyncOptions
    people: tuple[FoundPerson, ...]
    folder: Path

    @classmethod
    def of(cls, job: LipsyncJob, people: Sequence[Person]) -> "SegmentedJob":
        """Return what workers need of an open job."""
        voices = tuple(Voice(voice.face, voice.speech) for voice in job.voices)
        found = (FoundPerson(each.name, each.plan, job.voices.index(each.voice)) for each in people)
        # the main process adds the sound; with one that is given, workers do not mix that of several people
        given = Voices(voices, voices[0].speech, job.keep_people)
        return cls(job.video.path, given, replace(job.options, timeline=False), tuple(found), job.folder)


def frames_read(stages: Sequence[PersonStages], segment: Segment) -> Segment:
    """Return the frames that are read for a segment, for which all people's stages compute what it depends on."""
    windows = [each.windows_in(segment) for each in stages]
    return Segment(min(each.first_read for each in windows), max(each.stop_read for each in windows))


def generate_segment(
    pipeline: LipsyncPipeline,
    whole: SegmentedJob,
    segment: Segment,
    path: Path,
    progress: Progress | None = None,
    *,
    seek: bool = False,
) -> list[np.ndarray]:
    """Write a segment and the files beside it; its frames equal those of the whole job before they are encoded.

    Args:
        pipeline: the networks.
        whole: the job.
        segment: its frames.
        path: the video to write.
        progress: receives frames of the whole result.
        seek: find the first frame that is read by seeking, see `SegmentSeeks`.

    Returns:
        For each person (n,) bool, True for the source frames in which something in front of the mouth was found.
    """
    files = whole.video, whole.voices, path, whole.options, whole.folder, progress
    with pipeline.open_job(*files) as opened, pipeline.naming_memory_errors(whole.options):
        num_source_frames = len(whole.people[0].plan)
        job = replace(opened.fit(num_source_frames), sound=None)
        people = [_opened(person, job) for person in whole.people]
        stages = [pipeline.stages(job, person, reports_progress=person is people[-1]) for person in people]
        shown = frames_read(stages, segment)
        frames = pipeline.read(job, num_source_frames, shown, seek=seek)
        for each in stages:
            frames = replace(each, shown=shown, windows=each.windows_in(segment))(frames)
        pipeline.write(job, _only(frames, segment.start - shown.start, len(segment)), segment.start)
    return [person.notes.get(OCCLUDED, np.zeros(num_source_frames, dtype=bool)) for person in people]


def _opened(found: FoundPerson, job: LipsyncJob) -> Person:
    person = Person(found.name, found.plan, job.voices[found.voice])
    return person if job.options.occluder is None else person.with_occluders()


def _only(frames: Generator[JobFrame, None, None], start: int, count: int) -> Generator[JobFrame, None, None]:
    """Yield `count` frames from number `start` on."""
    with closing(frames):
        yield from islice(frames, start, start + count)
