"""One video's way through the lip-sync pipeline: the two passes and the stages of the second.

    decode -> align -> synthesize (encode, denoise, decode a window) -> paste -> encode

The stages are generators; `prefetch` gives each a thread of its own and a bounded queue to the next.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.errors import InputError
from latentsync.face.align import crop_faces
from latentsync.face.detector import FaceDetector
from latentsync.face.face_plan import FacePlan, plan_face
from latentsync.face.paste import FacePaster
from latentsync.face.published import PublishedPaster, crop_faces_as_published
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.pingpong import PingPongReader, source_index
from latentsync.media.reader import VideoReader
from latentsync.media.writer import MADE_BY, VideoWriter
from latentsync.pipelines.alignment import matrices_by_run
from latentsync.pipelines.blending import WindowBlender
from latentsync.pipelines.contact_sheet import ContactSheet
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.output_files import OutputFiles, StagedFiles
from latentsync.pipelines.prefetch import prefetch
from latentsync.pipelines.report import LipsyncReport, peak_device_memory_mb, peak_memory_mb
from latentsync.pipelines.synthesis import Cancelled, Window, WindowSynthesizer
from latentsync.pipelines.timeline import Run, find_runs, plan_windows

DETECTION_BATCH = 16
DECODED_AHEAD = 8
"""Decoded frames that may wait for the aligner."""

Progress = Callable[[str, float, int], None]
"""Called as (stage, frames done, frames in all); the stages are ``faces`` and ``lips``."""

FrameWatcher = Callable[[int, np.ndarray, np.ndarray, np.ndarray | None], None]
"""Shown every finished frame, in order: place in the result, source and result (h, w, 3) uint8, and the matrix (2, 3)
from the frame to the face's crop, None where the frame was left alone."""


@dataclass(frozen=True)
class LipsyncNetworks:
    """The networks and the shape of what they paint; see `LipsyncPipeline`."""

    synthesizer: WindowSynthesizer
    audio_encoder: WhisperEncoder
    detector: FaceDetector
    resolution: int
    num_frames: int
    exact_detector: FaceDetector | None = None


@dataclass
class _Chunk:
    """Frames that move through the chain together: a window with a face, or one frame without."""

    frames: list[np.ndarray]
    window: Window | None = None
    matrices: np.ndarray | None = None
    num_settled: int = 0


class _Finished(NamedTuple):
    """A frame of the source and of the result, and the matrix (2, 3) to the face's crop where there is one."""

    source: np.ndarray
    result: np.ndarray
    matrix: np.ndarray | None


class LipsyncJob:
    """One video on its way through the pipeline.

    Args:
        networks: what paints.
        video, audio: the user's files.
        outputs: what is written.
        staged: where it is written before all of it gets its place.
        folder: for temporary files.
        options: the user's choices.
        fps: frames per second of the result.
        num_frames: length of the result.
        samples: the speech.
        progress: told of the frames done.
        watch: shown every finished frame.
    """

    def __init__(
        self,
        networks: LipsyncNetworks,
        video: Path,
        audio: Path,
        outputs: OutputFiles,
        staged: StagedFiles,
        folder: Path,
        options: LipsyncOptions,
        fps: Fraction,
        num_frames: int,
        samples: AudioSamples,
        progress: Progress,
        watch: FrameWatcher | None = None,
    ) -> None:
        self.networks = networks
        self.video, self.audio = video, audio
        self.outputs, self.staged = outputs, staged
        self.folder = folder
        self.options = options
        self.fps = fps
        self.num_frames = num_frames
        self.samples = samples
        self.progress = progress
        self.watch = watch
        self.cancelled = Event()

    def run(self) -> LipsyncReport:
        """Both passes."""
        started = time.monotonic()
        plan = self.find_face()
        found = time.monotonic()
        num_source, exact = len(plan), self.options.exact
        # published windows go on through cuts
        segments = np.minimum(plan.segment, 0) if exact else plan.segment
        runs = find_runs(segments.tolist(), self.num_frames, lambda i: source_index(i, num_source, exact))
        extra_files = self.write(plan, runs)
        return LipsyncReport(
            video=self.outputs.video,
            extra_files=extra_files,
            num_frames=self.num_frames,
            runs=runs,
            fps=float(self.fps),
            detection_seconds=found - started,
            synthesis_seconds=time.monotonic() - found,
            peak_memory_mb=peak_memory_mb(),
            peak_device_memory_mb=peak_device_memory_mb(self.networks.synthesizer.device),
        )

    def find_face(self) -> FacePlan:
        """The first pass: where the followed face is in each frame that is needed."""
        detector = self.networks.exact_detector if self.options.exact else self.networks.detector
        assert detector is not None  # the pipeline refuses options that it has no detector for
        with VideoReader(self.video, self.fps, max_frames=self.num_frames) as reader:
            total = min(self.num_frames, reader.info.num_frames_at(self.fps))
            with closing(prefetch(iter(reader), DECODED_AHEAD)) as frames:
                plan = plan_face(
                    frames,
                    detector,
                    self.options.face,
                    DETECTION_BATCH,
                    lambda done: self.progress("faces", done, max(total, done)),
                    float(self.fps),
                    self.options.exact,
                )
        if not plan.segments():
            raise InputError(f"no face was found in {self.video}: give a video in which a face can be seen")
        return plan

    def write(self, plan: FacePlan, runs: list[Run]) -> list[Path]:
        """The second pass: repaints, pastes and encodes; gives the files written beside the result."""
        sheet = ContactSheet(self.num_frames, self.networks.resolution)
        with ExitStack() as stack:
            reader = stack.enter_context(
                PingPongReader(
                    *(self.video, self.fps, len(plan), self.num_frames, self.folder),
                    repeat_turns=self.options.exact,
                )
            )
            compare = None
            if self.outputs.comparison is not None:
                size = (2 * reader.width, reader.height)
                compare = stack.enter_context(self.open_writer(self.outputs.comparison, *size, MADE_BY))
            writer = stack.enter_context(self.open_writer(self.outputs.video, reader.width, reader.height))
            painted = self.synthesize(self.align(reader, plan, runs))
            finished = prefetch(self.paste(prefetch(painted, 1)), DECODED_AHEAD, stop=self.cancelled)
            with closing(finished):
                for i, (source, result, matrix) in enumerate(finished):
                    writer.write(result)
                    if compare is not None:
                        compare.write(np.concatenate((source, result), axis=1))
                    sheet.add(i, source, result, matrix)
                    if self.watch is not None:
                        self.watch(i, source, result, matrix)
                    self.progress("lips", i + 1, self.num_frames)
        try:
            sheet.write(self.staged.path_of(self.outputs.sheet))
        except OSError as error:
            raise InputError(
                f"{self.outputs.sheet} was not written ({error.strerror}): free some space or name another output"
            ) from error
        extra = (self.outputs.comparison, self.outputs.sheet)
        return [path for path in extra if path is not None]

    def open_writer(self, path: Path, width: int, height: int, comment: str | None = None) -> VideoWriter:
        """A writer of a video with the user's sound."""
        return VideoWriter(
            path,
            width,
            height,
            self.fps,
            crf=self.options.crf,
            audio_path=self.audio,
            audio_duration_s=self.samples.duration_s,
            put_at=self.staged.path_of(path),
            comment=comment,
        )

    def align(self, reader: PingPongReader, plan: FacePlan, runs: list[Run]) -> Generator[_Chunk, None, None]:
        """Cuts the frames into windows of aligned crops; frames without the face go alone."""
        begin_run = matrices_by_run(plan, self.networks.resolution, self.options.exact)
        with closing(prefetch(iter(reader), DECODED_AHEAD)) as frames:
            for run in runs:
                if run.has_face:
                    yield from self.align_run(run, frames, begin_run())
                else:
                    for _, frame in islice(frames, len(run)):
                        yield _Chunk([frame])

    def align_run(
        self, run: Run, frames: Iterator[tuple[int, np.ndarray]], matrix_of: Callable[[int], np.ndarray]
    ) -> Generator[_Chunk, None, None]:
        """Windows of one run of the face; the crops that windows share are cut once."""
        resolution, options = self.networks.resolution, self.options
        crop = crop_faces_as_published if options.exact else crop_faces
        crops: deque[Tensor] = deque(maxlen=self.networks.num_frames)
        num_read = 0
        for span in plan_windows(len(run), self.networks.num_frames, options.overlap_frames, options.exact):
            taken = list(islice(frames, span.stop - num_read))
            if len(taken) != span.stop - num_read:
                raise InputError(f"{self.video} gave fewer frames when it was read again: is it still being written?")
            num_read = span.stop
            new = [frame for _, frame in taken]
            matrices = np.stack([matrix_of(index) for index, _ in taken])
            crops.extend(crop(new, matrices, resolution, self.networks.synthesizer.device))
            shown = list(crops)[-(span.stop - span.start) :]
            window = Window(start=run.start + span.start, crops=torch.stack(shown))
            yield _Chunk(new, window, matrices, num_settled=span.settled - span.start)

    def synthesize(self, chunks: Iterator[_Chunk]) -> Generator[tuple[_Chunk, Tensor | None], None, None]:
        """Repaints windows, several at once where wanted; gives each chunk its painted crops (f, 3, R, R)."""
        features = WhisperFeatures(self.networks.audio_encoder, self.samples, self.options.exact)
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
        """Whether a chunk may be painted together with those that wait."""
        first = waiting[0].window
        if first is None or chunk.window is None or len(waiting) == self.options.batch_windows:
            return False
        return len(first.crops) == len(chunk.window.crops)

    def paint(
        self, chunks: list[_Chunk], features: WhisperFeatures
    ) -> Generator[tuple[_Chunk, Tensor | None], None, None]:
        """Paints chunks together; a chunk without a window passes through."""
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

        painted = self.networks.synthesizer(windows, features, self.fps, self.options, report)
        yield from zip(chunks, painted, strict=True)

    def paste(self, painted: Generator[tuple[_Chunk, Tensor | None], None, None]) -> Generator[_Finished, None, None]:
        """Puts the crops back into their frames, frame by frame."""
        build_paster = PublishedPaster if self.options.exact else FacePaster
        paster = build_paster(self.networks.resolution, self.networks.synthesizer.device)
        blender = WindowBlender()
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        with closing(painted):
            for chunk, crops in painted:
                if crops is None or chunk.matrices is None:
                    yield from (_Finished(frame, frame, None) for frame in chunk.frames)
                    continue
                waiting.extend(zip(chunk.frames, chunk.matrices, strict=True))
                for crop in blender.add(crops, chunk.num_settled):
                    frame, matrix = waiting.popleft()
                    yield _Finished(frame, paster.paste(frame, crop, matrix), matrix)
