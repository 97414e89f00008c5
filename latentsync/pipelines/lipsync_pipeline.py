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

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.silero_network import load_silero_network
from latentsync.audio.speech_activity import SpeechInterval, find_speech
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.device_memory import naming_memory_errors
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.face.align import Aligner, alignment_matrices, crop_faces, crop_faces_as_published
from latentsync.face.detection import FaceDetector
from latentsync.face.face_plan import FacePlan
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.head_pose import NOSE_DEPTH_68_POINTS, NOSE_DEPTH_FIVE_POINTS
from latentsync.face.landmarks68 import Landmarks68Detector
from latentsync.face.paste import FacePaster, PublishedPaster
from latentsync.face.xseg import XSegOccluder
from latentsync.judges.active_speaker import StreamingSyncNet
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.mixing import mix_audio
from latentsync.media.occluder_masks import check_number, read_masks
from latentsync.media.repeated_reader import RepeatedReader, source_index
from latentsync.media.writer import MADE_BY
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.contact_sheet import ContactSheet
from latentsync.pipelines.face_pass import find_tracks, followed_plan
from latentsync.pipelines.held_reference import HeldReference
from latentsync.pipelines.lipsync_job import (
    Cancelled,
    FrameCallback,
    LipsyncJob,
    LipsyncOutputs,
    OpenVoice,
    Progress,
    check_job,
    check_length,
)
from latentsync.pipelines.occluders import AUTO, FaceOccluders
from latentsync.pipelines.options import LipsyncOptions, memory_remedy
from latentsync.pipelines.people import Person, select_people
from latentsync.pipelines.report import LipsyncReport, PersonReport, peak_device_memory_mb, peak_memory_mb, spans_of
from latentsync.pipelines.speaker_pass import check_speaker_network, follow_speakers, load_speaker_network
from latentsync.pipelines.sync_mode import max_source_frames, repeat_of
from latentsync.pipelines.synthesis import WeightFiles, WindowSynthesizer
from latentsync.pipelines.timeline import write_timeline
from latentsync.pipelines.voice_features import closed_mouth_edges, speech_edges, voice_features
from latentsync.pipelines.voices import MANY_TRACKS, SPEAKER, Voices
from latentsync.pipelines.window_stages import Chunk, JobFrame, Window, decode_windows, denoise_windows, encode_windows
from latentsync.pipelines.windows import FaceInterval, find_intervals, plan_windows, published_length
from latentsync.prefetch import prefetch
from latentsync.storage.atomic import StagedFiles
from latentsync.storage.temporary_files import temporary_folder

logger = logging.getLogger(__name__)

DECODED_AHEAD = 8
"""Decoded frames that may wait for the next stage."""

_TURNED_SEGMENT = -2
"""Number of the segment of frames whose face keeps the source's mouth; -1 is that of frames without the face."""

NO_EXACT_DETECTOR = (
    "exact uses the published anchors from face-alignment's landmarks, whose weights are missing: "
    "python -m scripts.download_weights downloads them, or --detector mtcnn keeps everything but the anchors exact"
)

MatrixOf = Callable[[int], np.ndarray]
"""Return the (2, 3) matrix from frame to crop for the next frame of an interval, given its index in the source."""


class LipsyncPipeline:
    """Pipeline for lip-syncing faces of a video to driving audio.

    `__call__` runs all steps. They can also be called one by one:

        with pipeline.open_job("face.mp4", "speech.wav", "result.mp4") as job:
            people = pipeline.find_people(job)
            num_source_frames = len(people[0].plan)
            job = job.fit(num_source_frames)
            frames = pipeline.read(job, num_source_frames)
            for person in people:
                chunks = pipeline.encode(job, pipeline.align(job, person, frames))
                latents = pipeline.denoise(job, person, chunks)
                frames = pipeline.paste(job, pipeline.decode(job, latents))
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
    ) -> None:
        self.synthesizer = WindowSynthesizer(unet, codec, resolution, files)
        self.audio_encoder = audio_encoder
        self.detector, self.exact_detector = detector, exact_detector
        self.resolution = resolution
        self.num_frames = num_frames
        self.model_fps = model_fps
        self.speaker_network = speaker_network

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
    ) -> LipsyncReport:
        """Generate the video, as long as the longest driving audio, and a contact sheet beside it.

        Args:
            video_path: source video; its own audio is ignored.
            audio_path: driving audio, or a video with an audio stream; or the speech of several people.
            video_out_path: the result (.mp4, .mov or .mkv); it appears only when it is complete.
            options: see `LipsyncOptions`.
            temp_dir: parent of a folder for temporary files, which is removed at the end.
            progress: receives the number of finished frames.
            frame_callback: receives every finished frame, see `lipsync_job.FrameCallback`.

        Raises:
            InputError: an input cannot be used, no face is found, or the output cannot be written.
            DeviceMemoryError: the device is out of memory; the message names options to change.
            NonFiniteError: a network returned NaN or infinity.
            CheckpointError: `exact` is set and the pipeline has no detector for it.
        """
        options = options or LipsyncOptions()
        remedy = memory_remedy(self.device, self.synthesizer.unet.dtype, self.resolution, options)
        with (
            self.open_job(video_path, audio_path, video_out_path, options, temp_dir, progress, frame_callback) as job,
            naming_memory_errors("lip-sync", self.device, remedy),
        ):
            started = time.monotonic()
            people = self.find_people(job)
            detected = time.monotonic()
            num_source_frames = len(people[0].plan)
            job = job.fit(num_source_frames)
            frames = self.read(job, num_source_frames)
            for person in people:
                frames = self.dub(job, person, frames, reports_progress=person is people[-1])
            extra_files = self.write(job, frames)
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
            )

    @contextmanager
    def open_job(
        self,
        video_path: Path | str,
        audio_path: Path | str | Voices,
        video_out_path: Path | str,
        options: LipsyncOptions | None = None,
        temp_dir: Path | str | None = None,
        progress: Progress | None = None,
        frame_callback: FrameCallback | None = None,
    ) -> Iterator[LipsyncJob]:
        """Probe and check the files, open a temporary folder and decode the audio; arguments as in `__call__`.

        When the block ends without an error, the outputs get their names; otherwise nothing remains.
        """
        options = options or LipsyncOptions()
        self.check_options(options)
        voices = Voices.of(audio_path, options.face)
        self._check_speaker(voices, options)
        outputs = LipsyncOutputs.of(Path(video_out_path), options.compare, timeline=options.timeline)
        temp_dir = None if temp_dir is None else Path(temp_dir)
        checked = check_job(Path(video_path), voices, outputs, options.video_fps, temp_dir, (), options.occluder)
        fps = Fraction(self.model_fps) if options.video_fps == "25" else checked.video.fps
        with (
            temporary_folder(temp_dir) as folder,
            # the video last: once it exists, all its files exist
            StagedFiles([*outputs.beside(), outputs.video]) as staged,
            ExitStack() as stack,
        ):
            decoded = {
                path: stack.enter_context(AudioSamples.decode(path, folder)) for path in dict.fromkeys(voices.speeches)
            }
            longest = max(decoded.values(), key=lambda samples: samples.num_samples)
            num_frames = round(longest.duration_s * fps)
            if options.exact:
                num_frames = published_length(longest.num_samples, self.model_fps)
            check_length(voices.speeches[0], longest.duration_s, num_frames)
            activity = {} if options.silence == "off" else _find_speech(decoded)
            yield LipsyncJob(
                video=checked.video,
                voices=tuple(
                    OpenVoice(voice.face, voice.speech, decoded[voice.speech], activity.get(voice.speech))
                    for voice in voices.voices
                ),
                keep_people=voices.keep_people,
                sound=_sound(voices, folder),
                duration_s=longest.duration_s,
                num_samples=longest.num_samples,
                outputs=outputs,
                staged=staged,
                folder=folder,
                options=options,
                fps=fps,
                num_frames=num_frames,
                progress=progress or _ignore_progress,
                frame_callback=frame_callback,
                masks=checked.masks,
                xseg=XSegOccluder() if options.occluder == AUTO else None,
            )

    def check_options(self, options: LipsyncOptions) -> None:
        """Check that the pipeline supports the options.

        Raises:
            CheckpointError: `exact` is set and the pipeline has no detector for it.
        """
        if options.exact and self.exact_detector is None:
            raise CheckpointError(NO_EXACT_DETECTOR)

    def _check_speaker(self, voices: Voices, options: LipsyncOptions) -> None:
        if SPEAKER not in [voice.face for voice in voices.voices]:
            return
        if options.exact:
            raise ConfigError(f"face is {SPEAKER}, which contradicts exact: choose one face, or omit exact")
        if self.speaker_network is None:
            check_speaker_network()

    def find_people(self, job: LipsyncJob) -> list[Person]:
        """Detect and track the faces (first pass); return the people to generate.

        Raises:
            InputError: no face is found, or a voice belongs to nobody.
        """
        exact = job.options.exact
        detector = self.exact_detector if exact else self.detector
        assert detector is not None  # see check_options
        max_frames = max_source_frames(job.options, job.num_frames)
        found = find_tracks(
            job.video,
            job.fps,
            detector,
            [voice.face for voice in job.voices if voice.face not in MANY_TRACKS],
            max_frames,
            exact,
            lambda done, total: job.progress("faces", done, total),
        )
        if job.masks is not None:
            is_whole = max_frames is None or found.num_frames < max_frames
            check_number(job.masks, job.video.path, found.num_frames, is_whole, job.fps)
        if job.voices[0].face == SPEAKER:
            people = [self._speaker(job, found)]
        else:
            people = select_people(found, job.voices, job.fps, keep_people=job.keep_people, exact=exact)
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
            notes["no speech"] = ~edges.is_speech(np.arange(job.num_frames) / float(job.fps))
        spans = {what: spans_of(flags.tolist()) for what, flags in notes.items()}
        return PersonReport(person.name, person.voice.speech, self.find_intervals(job, person), spans)

    def find_intervals(self, job: LipsyncJob, person: Person) -> list[FaceInterval]:
        """Split the result into parts with and without a generated mouth; published windows continue across cuts."""
        exact, plan = job.options.exact, person.plan
        segments = np.minimum(plan.segment, 0) if exact else plan.segment
        if plan.strength is not None:
            segments = np.where((plan.strength == 0) & (segments >= 0), _TURNED_SEGMENT, segments)
        repeat = repeat_of(job.options)
        return find_intervals(segments.tolist(), job.num_frames, lambda i: source_index(i, len(plan), repeat))

    def read(self, job: LipsyncJob, num_source_frames: int) -> Generator[JobFrame, None, None]:
        """Read the source again, in the order of the result.

        Args:
            job: the job.
            num_source_frames: number of frames counted in the first pass.
        """

        def open_reader(path: Path) -> RepeatedReader:
            return RepeatedReader(
                *(path, job.fps, num_source_frames, job.num_frames, job.folder), repeat=repeat_of(job.options)
            )

        with open_reader(job.video.path) as reader:
            if job.masks is None:
                for index, frame in reader:
                    yield JobFrame(index, frame, frame)
            else:
                for index, frame, mask in read_masks(job.masks, reader, open_reader):
                    yield JobFrame(index, frame, frame, occluder=mask)

    def dub(
        self, job: LipsyncJob, person: Person, frames: Generator[JobFrame, None, None], reports_progress: bool = True
    ) -> Generator[JobFrame, None, None]:
        """Generate the mouth of one person: yield the frames with it."""
        chunks = self.encode(job, self.align(job, person, frames))
        return self.paste(job, person, self.decode(job, self.denoise(job, person, chunks, reports_progress)))

    def align(
        self, job: LipsyncJob, person: Person, frames: Generator[JobFrame, None, None]
    ) -> Generator[Chunk, None, None]:
        """Crop the face: yield windows of aligned crops, and frames without the face."""
        start_interval = interval_matrices(person.plan, self.resolution, job.options.exact)
        edges = closed_mouth_edges(person.voice.samples, person.voice.activity, job.options, job.num_samples)
        with closing(prefetch(frames, DECODED_AHEAD)) as ahead:
            for interval in self.find_intervals(job, person):
                if interval.has_face:
                    held = None if edges is None else HeldReference(lambda i: not edges.is_speech(i / float(job.fps)))
                    yield from self._align_interval(job, person, interval, ahead, start_interval(), held)
                else:
                    for frame in islice(ahead, len(interval)):
                        yield Chunk([frame])

    def _align_interval(
        self,
        job: LipsyncJob,
        person: Person,
        interval: FaceInterval,
        frames: Iterator[JobFrame],
        matrix_of: MatrixOf,
        held: HeldReference | None,
    ) -> Generator[Chunk, None, None]:
        """Yield the windows of one interval; every frame is cropped once."""
        options = job.options
        crop = crop_faces_as_published if options.exact else crop_faces
        in_front = FaceOccluders(job.xseg, person)
        num_read = 0
        for span in plan_windows(len(interval), self.num_frames, options.overlap_frames, options.exact):
            new = list(islice(frames, span.stop - num_read))
            if len(new) != span.stop - num_read:
                raise InputError(f"{job.video.path} has fewer frames on second reading: is it still being written?")
            new = in_front.find(new)
            matrices = np.stack([matrix_of(frame.index) for frame in new])
            crops = crop([frame.source for frame in new], matrices, self.resolution, self.device)
            crops = in_front.remove(crops, new, matrices)
            references = None if held is None else held(interval.start + num_read, crops)
            start = interval.start + span.start
            window = Window(start, crops, num_read - span.start, span.settled - span.start, references)
            num_read = span.stop
            yield Chunk(new, window, matrices)

    def encode(self, job: LipsyncJob, chunks: Iterator[Chunk]) -> Generator[Chunk, None, None]:
        """Encode the crops of each window to the constant channels of the U-Net."""
        with closing(prefetch(chunks, 1)) as ahead:
            yield from encode_windows(self.synthesizer, ahead, job.options)

    def denoise(
        self, job: LipsyncJob, person: Person, chunks: Generator[Chunk, None, None], reports_progress: bool = True
    ) -> Generator[Chunk, None, None]:
        """Generate the latents of each window, `batch_windows` of them per forward pass.

        Of several people the last one reports progress, whose windows come last.
        """

        def report(num_frames: float) -> None:
            if job.cancelled.is_set():
                raise Cancelled
            if reports_progress:
                job.progress("lips", num_frames, job.num_frames)

        voice = person.voice
        features = voice_features(self.audio_encoder, voice.samples, voice.activity, job.options, job.num_samples)
        with closing(_stage(job, chunks)) as encoded:
            yield from denoise_windows(self.synthesizer, encoded, features, job.fps, job.options, report)

    def decode(self, job: LipsyncJob, chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
        """Blend the latents of overlapping windows and decode each frame."""
        with closing(_stage(job, chunks)) as denoised:
            yield from decode_windows(self.synthesizer, denoised, job.options)

    def paste(self, job: LipsyncJob, person: Person, chunks: Iterator[Chunk]) -> Generator[JobFrame, None, None]:
        """Paste the generated crops into their frames; yield the frames in order."""
        paste = _paste_function(job, person, self.resolution, self.device)
        pending: deque[tuple[JobFrame, np.ndarray]] = deque()
        with closing(prefetch(chunks, 1)) as ahead:
            for chunk in ahead:
                if chunk.generated is None or chunk.matrices is None:
                    yield from chunk.frames
                    continue
                pending.extend(zip(chunk.frames, chunk.matrices, strict=True))
                for crop in chunk.generated:
                    frame, matrix = pending.popleft()
                    yield frame._replace(result=paste(frame, crop, matrix), matrices=(*frame.matrices, matrix))

    def write(self, job: LipsyncJob, frames: Iterator[JobFrame]) -> list[Path]:
        """Encode the result with its sound; return the files written beside it."""
        sheet = ContactSheet(job.num_frames, self.resolution)
        with ExitStack() as stack:
            comparison = None
            if job.outputs.comparison is not None:
                comparison = stack.enter_context(job.open_writer(job.outputs.comparison, 2 * job.video.width, MADE_BY))
            writer = stack.enter_context(job.open_writer(job.outputs.video, job.video.width))
            ahead = stack.enter_context(closing(prefetch(frames, DECODED_AHEAD, stop=job.cancelled)))
            for i, (_, source, result, matrices, _) in enumerate(ahead):
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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file; an OSError becomes an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} was not written ({error.strerror}): free some space or name another output"
        ) from error


def _sound(voices: Voices, folder: Path) -> Path:
    """Return the audio file with the sound of the result; speech of several people is mixed."""
    if voices.sound is not None:
        return voices.sound
    speeches = list(dict.fromkeys(voices.speeches))
    return speeches[0] if len(speeches) == 1 else mix_audio(speeches, folder)


def _find_speech(decoded: Mapping[Path, AudioSamples]) -> dict[Path, list[SpeechInterval]]:
    network, speech = load_silero_network(), {}
    for path, samples in decoded.items():
        speech[path] = find_speech(samples, network)
        if not speech[path]:
            logger.warning("no speech was found in %s: it moves no mouth", path)
    return speech


def _ignore_progress(stage: str, done: float, total: int) -> None:
    pass
