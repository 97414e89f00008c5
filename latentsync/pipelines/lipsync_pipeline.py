"""The lip-sync pipeline: source video and driving audio in, the video with matching lip motion out.

Two passes over the video. The first detects and tracks the faces and keeps a few numbers per frame. The second
generates the mouth:

    read -> align -> encode -> denoise -> decode -> paste -> write
            |                                           |
            └────────── once for every person ──────────┘

Every person is a filter on the stream of frames: several people are dubbed in one pass and one encode. Crops are cut
from the source, and pasted into the result of the person before.

The stages of the second pass are generators. Reading, aligning, the networks, pasting and writing run concurrently,
each in its own thread (`prefetch`), and are connected by bounded queues: memory holds a few windows of frames, whatever
the length of the video. With `LipsyncOptions.concurrent_stages` encoding, denoising and decoding have a thread each,
and on a CUDA card a stream each.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.device_memory import naming_memory_errors
from latentsync.errors import CheckpointError, InputError
from latentsync.face.describer import DescriberChoice
from latentsync.face.detected_faces import DetectedFaces
from latentsync.face.detection import FaceDetector
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.head_pose import NOSE_DEPTH_68_POINTS, NOSE_DEPTH_FIVE_POINTS
from latentsync.face.landmarks68 import Landmarks68Detector
from latentsync.judges.active_speaker import StreamingSyncNet
from latentsync.media.occluder_masks import check_number, read_masks
from latentsync.media.repeated_reader import RepeatedReader, source_index
from latentsync.media.writer import MADE_BY, MADE_RESULT
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.contact_sheet import ContactSheet
from latentsync.pipelines.face_pass import find_tracks, followed_plan
from latentsync.pipelines.face_reading import FaceReading, detect_here
from latentsync.pipelines.lipsync_job import (
    FrameCallback,
    LipsyncJob,
    Progress,
)
from latentsync.pipelines.open_job import open_job
from latentsync.pipelines.options import LipsyncOptions, memory_remedy
from latentsync.pipelines.people import PeopleCallback, Person, select_people
from latentsync.pipelines.person_stages import DECODED_AHEAD, PersonStages, person_intervals
from latentsync.pipelines.report import (
    MIN_SILENCE_S,
    NO_SPEECH,
    LipsyncReport,
    PersonReport,
    peak_device_memory_mb,
    peak_memory_mb,
    spans_of,
)
from latentsync.pipelines.segments import Segment
from latentsync.pipelines.speaker_pass import check_speaker_network, follow_speakers, load_speaker_network
from latentsync.pipelines.sync_mode import max_source_frames, repeat_of
from latentsync.pipelines.synthesis import WeightFiles, WindowSynthesizer
from latentsync.pipelines.timeline import write_timeline
from latentsync.pipelines.voice_features import speech_edges
from latentsync.pipelines.voices import MANY_TRACKS, SPEAKER, Voices
from latentsync.pipelines.window_stages import JobFrame
from latentsync.prefetch import prefetch

NO_EXACT_DETECTOR = (
    "exact uses the published anchors from face-alignment's landmarks, whose weights are missing: "
    "python -m scripts.download_weights downloads them, or --detector mtcnn keeps everything but the anchors exact"
)


class LipsyncPipeline:
    """Pipeline for lip-syncing faces of a video to driving audio.

    `__call__` runs all steps. They can also be called one by one:

        with pipeline.open_job("face.mp4", "speech.wav", "result.mp4") as job:
            people = pipeline.find_people(job)
            num_source_frames = len(people[0].plan)
            job = job.fit(num_source_frames)
            frames = pipeline.read(job, num_source_frames)
            for person in people:  # `generate` does these steps
                stages = pipeline.stages(job, person)
                latents = stages.denoise(stages.encode(stages.align(frames)))
                frames = stages.paste(stages.decode(latents))
            pipeline.write(job, frames)

    Args:
        unet: denoising network with ``3 L + 1`` input channels, L being the codec's latent channels.
        codec: VAE that maps images to latents and back.
        audio_encoder: Whisper encoder; its width is the U-Net's ``cross_attention_dim``.
        detector: face detector.
        resolution: side of the aligned crops in pixels.
        num_frames: frames of one window.
        model_fps: frames per second that the U-Net was trained with.
        exact_detector: face detector for the option `exact`; None rejects that option.
        files: weight files of the networks, for error messages.
        speaker_network: loads the SyncNet of the face ``speaker``; by default `speaker_pass.load_speaker_network`.
        default_options: options of a job that names none; by default `LipsyncOptions()`.

    Raises:
        ConfigError: the networks do not fit together.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        codec: LatentCodec,
        audio_encoder: WhisperEncoder,
        detector: FaceDetector,
        resolution: int,
        num_frames: int = 16,
        model_fps: int = 25,
        exact_detector: FaceDetector | None = None,
        files: WeightFiles | None = None,
        speaker_network: Callable[[], StreamingSyncNet] | None = None,
        default_options: LipsyncOptions | None = None,
    ) -> None:
        self.synthesizer = WindowSynthesizer(unet, codec, resolution, files)
        self.audio_encoder = audio_encoder
        self.detector, self.exact_detector = detector, exact_detector
        self.resolution = resolution
        self.num_frames = num_frames
        self.model_fps = model_fps
        self.speaker_network = speaker_network
        self.default_options = default_options or LipsyncOptions()

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.synthesizer.device

    def __call__(
        self,
        video_path: Path | str,
        audio_path: Path | str | Voices,
        video_out_path: Path | str,
        options: LipsyncOptions | None = None,
        temp_dir: Path | str | None = None,
        progress: Progress | None = None,
        frame_callback: FrameCallback | None = None,
        people_callback: PeopleCallback | None = None,
        first_pass: "FirstPass | None" = None,
        second_pass: "SecondPass | None" = None,
    ) -> LipsyncReport:
        """Generate the video, as long as the longest driving audio, and a contact sheet beside it.

        Args:
            video_path: source video; its own audio is ignored.
            audio_path: driving audio, or a video with an audio stream; or the speech of several people.
            video_out_path: the result (.mp4, .mov or .mkv); it appears only when it is complete.
            options: see `LipsyncOptions`; by default `default_options`.
            temp_dir: parent of a folder for temporary files, which is removed at the end.
            progress: receives the number of finished frames; an exception that it raises ends the job.
            frame_callback: receives every finished frame, see `lipsync_job.FrameCallback`.
            people_callback: receives the people before their mouths are generated, see `people.PeopleCallback`.
            first_pass: finds the faces of all frames, such as `face_workers.FaceWorkers`; by default this process.
            second_pass: generates the mouths and writes the video, such as `segment_workers.SegmentWorkers`; by default
                this process.

        Raises:
            InputError: an input cannot be used, no face is found, or the output cannot be written.
            DeviceMemoryError: the device is out of memory; the message names options to change.
            NonFiniteError: a network returned NaN or infinity.
            CheckpointError: `exact` is set and the pipeline has no detector for it.
        """
        options = options or self.default_options
        with (
            self.open_job(video_path, audio_path, video_out_path, options, temp_dir, progress, frame_callback) as job,
            self.naming_memory_errors(options),
        ):
            started = time.monotonic()
            people = self.find_people(job, first_pass)
            detected = time.monotonic()
            job = job.fit(len(people[0].plan))
            if people_callback is not None:
                people_callback(job, people)
            if second_pass is None:
                extra_files = self.write(job, self.generate(job, people))
            else:
                extra_files = second_pass(self, job, people)
            reports = [self.report(job, person) for person in people]
            if job.outputs.timeline is not None:
                with writing(job.outputs.timeline):
                    write_timeline(reports, job.num_frames, float(job.fps), job.staged.path_of(job.outputs.timeline))
                extra_files.append(job.outputs.timeline)
            return LipsyncReport(
                video=job.outputs.video,
                extra_files=extra_files,
                num_frames=job.num_frames,
                people=reports,
                fps=float(job.fps),
                detection_seconds=detected - started,
                synthesis_seconds=time.monotonic() - detected,
                peak_memory_mb=peak_memory_mb(),
                peak_device_memory_mb=peak_device_memory_mb(self.device),
                recognition=people[0].recognition,
            )

    def open_job(
        self,
        video_path: Path | str,
        audio_path: Path | str | Voices,
        video_out_path: Path | str,
        options: LipsyncOptions | None = None,
        temp_dir: Path | str | None = None,
        progress: Progress | None = None,
        frame_callback: FrameCallback | None = None,
    ) -> AbstractContextManager[LipsyncJob]:
        """Check the options and return `open_job` of the arguments, which are those of `__call__`."""
        options = options or self.default_options
        self.check_options(options)
        voices = Voices.of(audio_path, options.face)
        if self.speaker_network is None and SPEAKER in [voice.face for voice in voices.voices]:
            check_speaker_network()
        files = Path(video_path), voices, Path(video_out_path)
        temp_dir = None if temp_dir is None else Path(temp_dir)
        return open_job(*files, options, self.model_fps, temp_dir, progress, frame_callback)

    def naming_memory_errors(self, options: LipsyncOptions) -> AbstractContextManager[None]:
        """Return a context that turns out-of-memory errors into a `DeviceMemoryError` with options to change."""
        remedy = memory_remedy(self.device, self.synthesizer.unet.dtype, self.resolution, options)
        return naming_memory_errors("lip-sync", self.device, remedy)

    def check_options(self, options: LipsyncOptions) -> None:
        """Check that the pipeline supports the options.

        Raises:
            CheckpointError: `exact` is set and the pipeline has no detector for it.
        """
        if options.exact and self.exact_detector is None:
            raise CheckpointError(NO_EXACT_DETECTOR)

    def find_people(self, job: LipsyncJob, first_pass: "FirstPass | None" = None) -> list[Person]:
        """Detect and track the faces; return the people to generate.

        Args:
            job: the job.
            first_pass: see `__call__`.

        Raises:
            InputError: no face is found, or a voice belongs to nobody.
        """
        exact = job.options.exact
        detector = self.exact_detector if exact else self.detector
        assert detector is not None  # see check_options
        max_frames, describer = max_source_frames(job.options, job.num_frames), DescriberChoice(device=str(self.device))
        found = find_tracks(
            job.video,
            job.fps,
            detector,
            [voice.face for voice in job.voices if voice.face not in MANY_TRACKS],
            max_frames,
            exact,
            lambda done, total: job.progress("faces", done, total),
            detect_here if first_pass is None else partial(first_pass, job.folder),
            describer,
        )
        if job.masks is not None:
            is_whole = max_frames is None or found.num_frames < max_frames
            check_number(job.masks, job.video.path, found.num_frames, is_whole, job.fps)
        if job.voices[0].face == SPEAKER:
            people = [self._speaker(job, found)]
        else:
            people = select_people(found, job.voices, job.fps, keep_people=job.keep_people, exact=exact)
        if len(found.people()) > 1 or len(found.scenes()) > 1:
            people = [replace(person, recognition=describer.line()) for person in people]
        if job.options.occluder is not None:
            people = [person.with_occluders() for person in people]
        if job.options.max_yaw is None:
            return people
        depth = NOSE_DEPTH_68_POINTS if isinstance(detector, Landmarks68Detector) else NOSE_DEPTH_FIVE_POINTS
        return [person.with_max_yaw(job.options.max_yaw, job.fps, depth) for person in people]

    def _speaker(self, job: LipsyncJob, found: FaceTracks) -> Person:
        """Return whoever speaks in the source, as one person."""

        def report(done: int, total: int) -> None:
            job.progress("speaker", done, total)

        load = self.speaker_network or partial(load_speaker_network, self.device)
        speakers = follow_speakers(job.video, job.fps, found, load, job.folder, report)
        plan = followed_plan(speakers.tracks, found, job.fps)
        person = Person(SPEAKER, plan, job.voices[0], speakers.notes(len(plan)))
        return person.with_covered(speakers.covered(found), job.fps)

    def report(self, job: LipsyncJob, person: Person) -> PersonReport:
        """Return what is done with one person."""
        repeat, voice = repeat_of(job.options), person.voice
        order = [source_index(i, len(person.plan), repeat) for i in range(job.num_frames)]
        notes = {what: flags[order] for what, flags in person.notes.items()}
        if (edges := speech_edges(voice.samples, voice.activity, job.options, job.num_samples)) is not None:
            notes[NO_SPEECH] = ~edges.is_speech(np.arange(job.num_frames) / float(job.fps))
        shortest = {NO_SPEECH: MIN_SILENCE_S * float(job.fps)}
        spans = {what: spans_of(flags.tolist(), shortest.get(what, 1)) for what, flags in notes.items()}
        return PersonReport(person.name, person.voice.speech, person_intervals(job, person), spans)

    def generate(self, job: LipsyncJob, people: Sequence[Person]) -> Generator[JobFrame, None, None]:
        """Read the source again and generate the mouth of each person, one after the other (second pass)."""
        frames = self.read(job, len(people[0].plan))
        for person in people:
            frames = self.stages(job, person, reports_progress=person is people[-1])(frames)
        return frames

    def read(
        self, job: LipsyncJob, num_source_frames: int, shown: Segment | None = None, *, seek: bool = False
    ) -> Generator[JobFrame, None, None]:
        """Read the source again, in the order of the result.

        Args:
            job: the job.
            num_source_frames: number of frames counted in the first pass.
            shown: frames of the result to read; None: all.
            seek: find the first of them by seeking, see `RepeatedReader`.
        """
        first, stop = (0, job.num_frames) if shown is None else (shown.start, shown.stop)

        def open_reader(path: Path) -> RepeatedReader:
            given = path, job.fps, num_source_frames, stop, job.folder
            return RepeatedReader(*given, repeat=repeat_of(job.options), first_frame=first, seek=seek)

        with open_reader(job.video.path) as reader:
            if job.masks is None:
                for index, frame in reader:
                    yield JobFrame(index, frame, frame)
            else:
                for index, frame, mask in read_masks(job.masks, reader, open_reader):
                    yield JobFrame(index, frame, frame, occluder=mask)

    def stages(self, job: LipsyncJob, person: Person, reports_progress: bool = True) -> PersonStages:
        """Return the stages that generate the mouth of one person."""
        networks = self.synthesizer, self.audio_encoder, self.resolution, self.num_frames
        return PersonStages(*networks, job, person, reports_progress)

    def write(self, job: LipsyncJob, frames: Iterator[JobFrame], first_frame: int = 0) -> list[Path]:
        """Encode the result with its sound, or a segment of it from `first_frame` on; return the files beside it."""
        sheet = ContactSheet(job.num_frames, self.resolution)
        with ExitStack() as stack:
            comparison = None
            if job.outputs.comparison is not None:
                comparison = stack.enter_context(job.open_writer(job.outputs.comparison, 2 * job.video.width, MADE_BY))
            writer = stack.enter_context(job.open_writer(job.outputs.video, job.video.width, MADE_RESULT))
            ahead = stack.enter_context(closing(prefetch(frames, DECODED_AHEAD, stop=job.cancelled)))
            for i, (_, source, result, matrices, _) in enumerate(ahead, first_frame):
                writer.write(result)
                if comparison is not None:
                    comparison.write(np.concatenate((source, result), axis=1))
                sheet.add(i, source, result, matrices)
                if job.frame_callback is not None:
                    job.frame_callback(i, source, result, matrices[0] if matrices else None)
                job.progress("lips", i + 1, job.num_frames)
        with writing(job.outputs.sheet):
            sheet.write(job.staged.path_of(job.outputs.sheet))
        extra = (job.outputs.comparison, job.outputs.sheet)
        return [path for path in extra if path is not None]


FirstPass = Callable[
    [Path, FaceReading, FaceDetector, Callable[[int, int], None]], Generator[DetectedFaces, None, None]
]
"""A `face_reading.DetectFaces` that receives the folder for temporary files first."""

SecondPass = Callable[[LipsyncPipeline, LipsyncJob, Sequence[Person]], list[Path]]
"""Generate the mouths of the people of a job and write its video; return the files written beside it."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file; an OSError becomes an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} was not written ({error.strerror}): free some space or name another output"
        ) from error
