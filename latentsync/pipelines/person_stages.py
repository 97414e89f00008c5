"""The stages between the frames of a video and the same frames with one person's generated mouth."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.errors import InputError
from latentsync.face.align import Aligner, alignment_matrices, crop_faces, crop_faces_as_published
from latentsync.face.face_plan import FacePlan
from latentsync.face.paste import FacePaster, PublishedPaster
from latentsync.media.repeated_reader import source_index
from latentsync.pipelines.held_reference import HeldReference
from latentsync.pipelines.lipsync_job import Cancelled, LipsyncJob
from latentsync.pipelines.occluders import FaceOccluders
from latentsync.pipelines.people import Person
from latentsync.pipelines.segments import Segment, WindowRange
from latentsync.pipelines.sync_mode import repeat_of
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.voice_features import speech_edges, voice_features
from latentsync.pipelines.window_stages import Chunk, JobFrame, Window, decode_windows, denoise_windows, encode_windows
from latentsync.pipelines.windows import FaceInterval, PlannedWindow, find_intervals, windows_of
from latentsync.prefetch import prefetch

DECODED_AHEAD = 8
"""Decoded frames that may wait for the next stage."""

_KEPT_SEGMENT = -2
"""Number of the segment of frames whose face keeps the source's mouth; -1 is that of frames without the face."""

MatrixOf = Callable[[int], np.ndarray]
"""Return the (2, 3) matrix from frame to crop for the next frame of an interval, given its index in the source."""


@dataclass(frozen=True)
class PersonStages:
    """Generators that pass windows of frames from one to the next; a call connects all of them.

    Attributes:
        synthesizer: U-Net and VAE.
        audio_encoder: Whisper encoder.
        resolution: side of the aligned crops in pixels.
        num_frames: frames of one window.
        job: the job.
        person: the person whose mouth is generated.
        reports_progress: False for all but the last of several people, whose windows come last.
        shown: frames of the result that are read; None: all.
        windows: what is computed of them; frames of other windows pass unchanged. None: everything.
    """

    synthesizer: WindowSynthesizer
    audio_encoder: WhisperEncoder
    resolution: int
    num_frames: int
    job: LipsyncJob
    person: Person
    reports_progress: bool = True
    shown: Segment | None = None
    windows: WindowRange | None = None

    def __call__(self, frames: Generator[JobFrame, None, None]) -> Generator[JobFrame, None, None]:
        """Yield the frames with the generated mouth, in order."""
        return self.paste(self.decode(self.denoise(self.encode(self.align(frames)))))

    def align(self, frames: Generator[JobFrame, None, None]) -> Generator[Chunk, None, None]:
        """Crop the face: yield windows of aligned crops, and frames without the face."""
        shown = Segment(0, self.job.num_frames) if self.shown is None else self.shown
        start_interval = interval_matrices(self.person.plan, self.resolution, self.job.options.exact)
        with closing(prefetch(frames, DECODED_AHEAD)) as ahead:
            for interval in person_intervals(self.job, self.person):
                num_frames = len(shown.overlap(interval.start, interval.stop))
                if interval.has_face and num_frames > 0:
                    yield from self._align_interval(interval, shown, ahead, start_interval())
                else:
                    for frame in islice(ahead, num_frames):
                        yield Chunk([frame])

    def _align_interval(
        self, interval: FaceInterval, shown: Segment, frames: Iterator[JobFrame], matrix_of: MatrixOf
    ) -> Generator[Chunk, None, None]:
        """Yield the windows of one interval; every frame is cropped once."""
        job, person = self.job, self.person
        chosen = self.windows or WindowRange.whole(job.num_frames)
        crop = crop_faces_as_published if job.options.exact else crop_faces
        in_front, held = FaceOccluders(job.xseg, person), self._held_reference(chosen.first_crop)
        for i in range(interval.start, shown.start):  # the smoothed correction follows all frames of the interval
            matrix_of(source_index(i, len(person.plan), repeat_of(job.options)))
        for window in windows_of(interval, *window_shape(job, self.num_frames)):
            place = shown.overlap(window.first_new, window.stop)
            if len(place) == 0:
                continue
            new = in_front.find(list(islice(frames, len(place))))
            if len(new) != len(place):
                raise InputError(f"{job.video.path} has fewer frames on second reading: is it still being written?")
            matrices = np.stack([matrix_of(frame.index) for frame in new])
            if not chosen.crops(window):
                yield Chunk(new)
                continue
            crops = crop([frame.source for frame in new], matrices, self.resolution, self.synthesizer.device)
            crops = in_front.remove(crops, new, matrices)
            references = None if held is None else held(place.start, crops)
            if not chosen.encodes(window):
                yield Chunk(new)
                continue
            num_shared, num_settled = window.first_new - window.start, window.settled - window.start
            is_generated = chosen.generates(window)
            given = Window(window.start, crops, num_shared, num_settled, references, is_generated=is_generated)
            yield Chunk(new, given, matrices)

    def windows_in(self, segment: Segment) -> WindowRange:
        """Return what is computed for a segment of the result, so that its frames equal those of the whole job.

        The reference image of a frame without speech is that of an earlier frame, and crops without the things before
        the face depend on all earlier ones of their interval.
        """
        job, held = self.job, self._held_reference()

        def first_remembered(interval: FaceInterval, frame: int) -> int:
            if job.masks is not None or job.xseg is not None:
                return interval.start
            return frame if held is None else held.held_from(interval.start, frame)

        windows = person_windows(job, self.person, self.num_frames)
        return WindowRange.of(segment, windows, job.options.batch_windows or 1, first_remembered)

    def _held_reference(self, first_frame: int = 0) -> HeldReference | None:
        """Return the reference images of the frames without speech from `first_frame` on; None if there are none."""
        job, voice = self.job, self.person.voice
        edges = speech_edges(voice.samples, voice.activity, job.options, job.num_samples)
        if edges is None:
            return None
        return HeldReference(lambda i: i >= first_frame and not edges.is_speech(i / float(job.fps)))

    def encode(self, chunks: Iterator[Chunk]) -> Generator[Chunk, None, None]:
        """Encode the crops of each window to the constant channels of the U-Net."""
        with closing(prefetch(chunks, 1)) as ahead:
            yield from encode_windows(self.synthesizer, ahead, self.job.options)

    def denoise(self, chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
        """Generate the latents of each window, `batch_windows` of them per forward pass."""
        job, voice = self.job, self.person.voice

        def report(num_frames: float) -> None:
            if job.cancelled.is_set():
                raise Cancelled
            if self.reports_progress:
                job.progress("lips", num_frames, job.num_frames)

        features = voice_features(self.audio_encoder, voice.samples, voice.activity, job.options, job.num_samples)
        with closing(_stage(job, chunks)) as encoded:
            yield from denoise_windows(self.synthesizer, encoded, features, job.fps, job.options, report)

    def decode(self, chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
        """Blend the latents of overlapping windows and decode each frame."""
        with closing(_stage(self.job, chunks)) as denoised:
            yield from decode_windows(self.synthesizer, denoised, self.job.options)

    def paste(self, chunks: Iterator[Chunk]) -> Generator[JobFrame, None, None]:
        """Paste the generated crops into their frames; yield the frames in order."""
        paste = _paste_function(self.job, self.person, self.resolution, self.synthesizer.device)
        pending: deque[tuple[JobFrame, np.ndarray]] = deque()
        with closing(prefetch(chunks, 1)) as ahead:
            for chunk in ahead:
                if chunk.generated is None or chunk.matrices is None:
                    while pending:  # the windows that would settle them are not generated
                        yield pending.popleft()[0]
                    yield from chunk.frames
                    continue
                pending.extend(zip(chunk.frames, chunk.matrices, strict=True))
                for crop in chunk.generated:
                    frame, matrix = pending.popleft()
                    yield frame._replace(result=paste(frame, crop, matrix), matrices=(*frame.matrices, matrix))
            yield from (frame for frame, _ in pending)


def person_intervals(job: LipsyncJob, person: Person) -> list[FaceInterval]:
    """Split the result into parts with and without a generated mouth; published windows continue across cuts."""
    exact, plan = job.options.exact, person.plan
    segments = np.minimum(plan.segment, 0) if exact else plan.segment
    if plan.strength is not None:
        segments = np.where((plan.strength == 0) & (segments >= 0), _KEPT_SEGMENT, segments)
    repeat = repeat_of(job.options)
    return find_intervals(segments.tolist(), job.num_frames, lambda i: source_index(i, len(plan), repeat))


def window_shape(job: LipsyncJob, num_frames: int) -> tuple[int, int, bool]:
    """Return the arguments of `windows_of` for windows of `num_frames` frames."""
    return num_frames, job.options.overlap_frames, job.options.exact


def person_windows(job: LipsyncJob, person: Person, num_frames: int) -> list[PlannedWindow]:
    """Return all windows of a person, of `num_frames` frames each."""
    shape = window_shape(job, num_frames)
    faces = (interval for interval in person_intervals(job, person) if interval.has_face)
    return [window for interval in faces for window in windows_of(interval, *shape)]


def interval_matrices(plan: FacePlan, resolution: int, exact: bool = False) -> Callable[[], MatrixOf]:
    """Return a function that is called at the start of each interval and returns its `MatrixOf`.

    By default the smoothed nose correction restarts with each interval, since the last face of a shot is unrelated to
    the first face of the next, and follows the order of the result. With `exact` it follows the order of the source,
    across cuts, and frames shown in reverse have the matrices of the forward pass, as in the published system.

    Args:
        plan: anchors of the face.
        resolution: side of the crops in pixels.
        exact: see above.
    """
    if exact:
        matrices = alignment_matrices(plan.anchors, resolution)
        return lambda: matrices.__getitem__

    def start_interval() -> MatrixOf:
        aligner = Aligner(resolution)
        return lambda index: aligner.matrix(plan.anchors[index])

    return start_interval


def _paste_function(
    job: LipsyncJob, person: Person, resolution: int, device: torch.device
) -> Callable[[JobFrame, torch.Tensor, np.ndarray], np.ndarray]:
    """Return the function that pastes a crop of a person into a frame, given the matrix from frame to crop."""
    if job.options.exact:
        published = PublishedPaster(resolution, device)
        return lambda frame, crop, matrix: published.paste(frame.result, crop, matrix)
    paster, strength = FacePaster(resolution, device), person.plan.strength
    if strength is None:
        return lambda frame, crop, matrix: paster.paste(frame.result, crop, matrix, occluder=frame.occluder)
    return lambda frame, crop, matrix: paster.paste(
        frame.result, crop, matrix, float(strength[frame.index]), frame.occluder
    )


def _stage(job: LipsyncJob, chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
    """Run a stage of the networks in a thread of its own if the job has concurrent stages, else within the next."""
    return prefetch(chunks, 1) if job.options.concurrent_stages else chunks
