"""The lip-sync pipeline: a video and a speech file in, the same video with moving lips out.

Two passes over the video. The first finds and follows the face at every frame and keeps a few numbers a frame. The
second is a chain of stages joined by bounded queues, each at work in a thread of its own:

    decode -> align -> synthesize (encode, denoise, decode a window) -> paste -> encode

Whatever the length of the video, only a few windows of frames are in memory.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.errors import InputError
from latentsync.face.align import Aligner, crop_faces
from latentsync.face.detector import FaceDetector
from latentsync.face.face_plan import FacePlan, plan_face
from latentsync.face.paste import FacePaster
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.pingpong import PingPongReader, source_index
from latentsync.media.probe import probe_audio, probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.blending import WindowBlender
from latentsync.pipelines.contact_sheet import ContactSheet
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.output_files import claimed_output
from latentsync.pipelines.prefetch import prefetch
from latentsync.pipelines.report import LipsyncReport, peak_device_memory_mb, peak_memory_mb
from latentsync.pipelines.synthesis import Cancelled, Window, WindowSynthesizer
from latentsync.pipelines.timeline import Run, find_runs, plan_windows

logger = logging.getLogger(__name__)

DETECTION_BATCH = 16
DECODED_AHEAD = 8
"""Decoded frames that may wait for the aligner."""

Progress = Callable[[str, float, int], None]
"""Called as (stage, frames done, frames in all); the stages are ``faces`` and ``lips``."""


@dataclass
class _Chunk:
    """Frames that move through the chain together: a window with a face, or one frame without."""

    frames: list[np.ndarray]
    window: Window | None = None
    matrices: np.ndarray | None = None
    num_settled: int = 0


class LipsyncPipeline:
    """Networks that together repaint the lips of one face in a video.

    Args:
        unet: sees ``3 L + 1`` channels, L being the codec's latent channels.
        codec: images to latents and back.
        audio_encoder: its width is the U-Net's ``cross_attention_dim``.
        detector: finds faces in frames.
        resolution: side of the aligned crop the networks work at, in pixels.
        num_frames: frames of one window.
        model_fps: frames per second the U-Net was trained at.

    Raises:
        ConfigError: the parts do not fit each other.
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
    ) -> None:
        self.synthesizer = WindowSynthesizer(unet, codec, resolution)
        self.audio_encoder = audio_encoder
        self.detector = detector
        self.resolution = resolution
        self.num_frames = num_frames
        self.model_fps = model_fps

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.synthesizer.device

    def __call__(
        self,
        video_path: Path | str,
        audio_path: Path | str,
        video_out_path: Path | str,
        options: LipsyncOptions | None = None,
        temp_dir: Path | str | None = None,
        progress: Progress | None = None,
    ) -> LipsyncReport:
        """Writes the video with lips that follow the audio, as long as the audio, and a contact sheet beside it.

        Args:
            video_path: a video with a face; its own sound is not used.
            audio_path: speech, or a video whose sound is speech.
            video_out_path: the result (.mp4, .mov or .mkv); appears when it is complete.
            options: see `LipsyncOptions`.
            temp_dir: where a folder for temporary files is made, and removed at the end.
            progress: told of the frames done.

        Raises:
            InputError: an input cannot be used, no face is found, or the output cannot be written.
        """
        video, audio, out = Path(video_path), Path(audio_path), Path(video_out_path)
        with ExitStack() as cleanup:
            info = probe_video(video)
            probe_audio(audio)
            cleanup.enter_context(claimed_output(out, (video, audio)))
            folder = Path(cleanup.enter_context(_temporary_folder(temp_dir)))
            samples = cleanup.enter_context(AudioSamples.decode(audio, folder))
            options = options or LipsyncOptions()
            fps = Fraction(self.model_fps) if options.video_fps == "25" else info.fps
            num_frames = round(samples.duration_s * fps)
            if num_frames < 1:
                raise InputError(f"{audio} lasts {samples.duration_s:.3f} s, less than one video frame: give more speech")
            job = _Job(self, video, audio, out, folder, options, fps, num_frames, samples, progress or _no_progress)
            return job.run()


class _Job:
    """One video on its way through the pipeline."""

    def __init__(
        self,
        pipeline: LipsyncPipeline,
        video: Path,
        audio: Path,
        out: Path,
        folder: Path,
        options: LipsyncOptions,
        fps: Fraction,
        num_frames: int,
        samples: AudioSamples,
        progress: Progress,
    ) -> None:
        self.pipeline = pipeline
        self.video, self.audio, self.out = video, audio, out
        self.folder = folder
        self.options = options
        self.fps = fps
        self.num_frames = num_frames
        self.samples = samples
        self.progress = progress
        self.cancelled = Event()

    def run(self) -> LipsyncReport:
        started = time.monotonic()
        plan = self.find_face()
        found = time.monotonic()
        num_source = len(plan)
        runs = find_runs(plan.segment.tolist(), self.num_frames, lambda i: source_index(i, num_source))
        extra_files = self.write(plan, runs)
        return LipsyncReport(
            video=self.out,
            extra_files=extra_files,
            num_frames=self.num_frames,
            runs=runs,
            fps=float(self.fps),
            detection_seconds=found - started,
            synthesis_seconds=time.monotonic() - found,
            peak_memory_mb=peak_memory_mb(),
            peak_device_memory_mb=peak_device_memory_mb(self.pipeline.device),
        )

    def find_face(self) -> FacePlan:
        """The first pass: where the followed face is in each frame that is needed."""
        with VideoReader(self.video, self.fps, max_frames=self.num_frames) as reader:
            total = min(self.num_frames, max(1, round(probe_video(self.video).duration_s * self.fps)))
            with closing(prefetch(iter(reader), DECODED_AHEAD)) as frames:
                plan = plan_face(
                    frames,
                    self.pipeline.detector,
                    self.options.face,
                    DETECTION_BATCH,
                    lambda done: self.progress("faces", done, max(total, done)),
                    float(self.fps),
                )
        if not plan.segments():
            raise InputError(f"no face was found in {self.video}: give a video in which a face can be seen")
        return plan

    def write(self, plan: FacePlan, runs: list[Run]) -> list[Path]:
        """The second pass: repaints, pastes and encodes; gives the files written beside the result."""
        sheet = ContactSheet(self.num_frames)
        sheet_path = self.out.with_name(f"{self.out.stem}_sheet.png")
        compare_path = self.out.with_name(f"{self.out.stem}_compare{self.out.suffix}")
        with ExitStack() as stack:
            reader = stack.enter_context(
                PingPongReader(self.video, self.fps, len(plan), self.num_frames, self.folder)
            )
            compare = None
            if self.options.compare:
                compare = stack.enter_context(self.open_writer(compare_path, 2 * reader.width, reader.height))
            writer = stack.enter_context(self.open_writer(self.out, reader.width, reader.height))
            painted = self.synthesize(self.align(reader, plan, runs))
            finished = prefetch(self.paste(prefetch(painted, 1)), DECODED_AHEAD, stop=self.cancelled)
            with closing(finished):  # pyright: ignore[reportArgumentType]
                for i, (source, result) in enumerate(finished):
                    writer.write(result)
                    if compare is not None:
                        compare.write(np.concatenate((source, result), axis=1))
                    sheet.add(i, source, result)
                    self.progress("lips", i + 1, self.num_frames)
        sheet.write(sheet_path)
        return [compare_path, sheet_path] if self.options.compare else [sheet_path]

    def open_writer(self, path: Path, width: int, height: int) -> VideoWriter:
        return VideoWriter(
            path,
            width,
            height,
            self.fps,
            crf=self.options.crf,
            audio_path=self.audio,
            audio_duration_s=self.samples.duration_s,
        )

    def align(self, reader: PingPongReader, plan: FacePlan, runs: list[Run]) -> Iterator[_Chunk]:
        """Cuts the frames into windows of aligned crops; frames without the face go alone."""
        with closing(prefetch(iter(reader), DECODED_AHEAD)) as frames:
            for run in runs:
                if run.has_face:
                    yield from self.align_run(run, frames, plan)
                else:
                    for _, frame in islice(frames, len(run)):
                        yield _Chunk([frame])

    def align_run(self, run: Run, frames: Iterator[tuple[int, np.ndarray]], plan: FacePlan) -> Iterator[_Chunk]:
        """Windows of one run of the face; the crops that windows share are cut once."""
        resolution = self.pipeline.resolution
        aligner = Aligner(resolution)
        crops: deque[Tensor] = deque(maxlen=self.pipeline.num_frames)
        num_read = 0
        for span in plan_windows(len(run), self.pipeline.num_frames, self.options.overlap_frames):
            taken = list(islice(frames, span.stop - num_read))
            if len(taken) != span.stop - num_read:
                raise InputError(f"{self.video} gave fewer frames when it was read again: is it still being written?")
            num_read = span.stop
            new = [frame for _, frame in taken]
            matrices = np.stack([aligner.matrix(plan.anchors[index]) for index, _ in taken])
            crops.extend(crop_faces(new, matrices, resolution, self.pipeline.device))
            shown = list(crops)[-(span.stop - span.start) :]
            window = Window(start=run.start + span.start, crops=torch.stack(shown))
            yield _Chunk(new, window, matrices, num_settled=span.settled - span.start)

    def synthesize(self, chunks: Iterator[_Chunk]) -> Iterator[tuple[_Chunk, Tensor | None]]:
        """Repaints windows, several at once where wanted; gives each chunk its painted crops (f, 3, R, R)."""
        features = WhisperFeatures(self.pipeline.audio_encoder, self.samples)
        waiting: list[_Chunk] = []
        with closing(prefetch(chunks, 1)) as ahead:
            for chunk in ahead:
                if waiting and not self.goes_with(waiting, chunk):
                    yield from self.paint(waiting, features)
                    waiting = []
                waiting.append(chunk)
            if waiting:
                yield from self.paint(waiting, features)

    def goes_with(self, waiting: list[_Chunk], chunk: _Chunk) -> bool:
        first = waiting[0].window
        if first is None or chunk.window is None or len(waiting) == self.options.batch_windows:
            return False
        return len(first.crops) == len(chunk.window.crops)

    def paint(self, chunks: list[_Chunk], features: WhisperFeatures) -> Iterator[tuple[_Chunk, Tensor | None]]:
        windows = [chunk.window for chunk in chunks if chunk.window is not None]
        if not windows:
            yield from ((chunk, None) for chunk in chunks)
            return
        base = windows[0].start
        num_new = sum(chunk.num_settled for chunk in chunks)

        def report(done: float) -> None:
            if self.cancelled.is_set():
                raise Cancelled
            self.progress("lips", base + done * num_new, self.num_frames)

        painted = self.pipeline.synthesizer(windows, features, self.fps, self.options, report)
        yield from zip(chunks, painted, strict=True)

    def paste(self, painted: Iterator[tuple[_Chunk, Tensor | None]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Puts the crops back into their frames; gives (source, result) frame by frame."""
        paster = FacePaster(self.pipeline.resolution, self.pipeline.device)
        blender = WindowBlender()
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        with closing(painted):  # pyright: ignore[reportArgumentType]
            for chunk, crops in painted:
                if crops is None or chunk.matrices is None:
                    yield from ((frame, frame) for frame in chunk.frames)
                    continue
                waiting.extend(zip(chunk.frames, chunk.matrices, strict=True))
                for crop in blender.add(crops, chunk.num_settled):
                    frame, matrix = waiting.popleft()
                    yield frame, paster.paste(frame, crop, matrix)


def _temporary_folder(temp_dir: Path | str | None) -> TemporaryDirectory:
    try:
        if temp_dir is not None:
            Path(temp_dir).mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="latentsync-", dir=temp_dir)
    except OSError as error:
        raise InputError(f"cannot make temporary files in {temp_dir}: {error.strerror}; choose another --temp_dir") from error


def _no_progress(stage: str, done: float, total: int) -> None:
    """Tells nobody."""
