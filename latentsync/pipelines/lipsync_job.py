"""One lip-sync job: its inputs and outputs, checked before the work, and its open resources while it runs."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Event

import numpy as np

from latentsync.errors import InputError
from latentsync.media.audio_samples import AudioSamples, check_finite_samples
from latentsync.media.probe import AudioInfo, VideoInfo, probe_audio, probe_video
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_outputs import LipsyncOutputs
from latentsync.pipelines.options import LipsyncOptions
from latentsync.storage.atomic import StagedFiles

Progress = Callable[[str, float, int], None]
"""Called with (stage, frames done, total frames); the stages are ``faces`` and ``lips``."""

FrameCallback = Callable[[int, np.ndarray, np.ndarray, np.ndarray | None], None]
"""Called for every finished frame, in order: index in the result, source and result (h, w, 3) uint8, and the (2, 3)
matrix from frame to face crop, None for an unchanged frame."""


@dataclass(frozen=True)
class CheckedJob:
    """A job that can start: its probed inputs and its outputs."""

    video: VideoInfo
    audio: AudioInfo
    outputs: LipsyncOutputs


@dataclass(frozen=True)
class LipsyncJob:
    """A job with open resources, which the steps of `LipsyncPipeline` take; built by `LipsyncPipeline.open_job`.

    Attributes:
        video: source video.
        audio: driving audio, as given by the user.
        samples: the driving audio at 16 kHz.
        outputs: files to write.
        staged: temporary files that become the outputs together.
        folder: folder for temporary files.
        options: options of the job.
        fps: frames per second of the result.
        num_frames: length of the result.
        progress: receives the number of finished frames.
        frame_callback: receives every finished frame, or None.
        cancelled: set when the consumer of the frames has stopped; the denoising loop polls it.
    """

    video: VideoInfo
    audio: Path
    samples: AudioSamples
    outputs: LipsyncOutputs
    staged: StagedFiles
    folder: Path
    options: LipsyncOptions
    fps: Fraction
    num_frames: int
    progress: Progress
    frame_callback: FrameCallback | None = None
    cancelled: Event = field(default_factory=Event)

    def open_writer(self, path: Path, width: int, comment: str | None = None) -> VideoWriter:
        """Return a writer for an output video of the source's height, with the driving audio."""
        return VideoWriter(
            path,
            width,
            self.video.height,
            self.fps,
            crf=self.options.crf,
            audio_path=self.audio,
            audio_duration_s=self.samples.duration_s,
            staged_path=self.staged.path_of(path),
            comment=comment,
        )


def check_job(
    video: Path,
    audio: Path,
    outputs: LipsyncOutputs,
    video_fps: str = "25",
    temp_dir: Path | None = None,
    also_read: Iterable[Path] = (),
) -> CheckedJob:
    """Check the files of a job without writing anything; a dry run does the same checks as a real one.

    Args:
        video: source video.
        audio: driving audio, or a video with an audio stream.
        outputs: files that the job writes.
        video_fps: frame rate of the result, ``25`` or ``source``.
        temp_dir: parent folder for temporary files; None for the system default.
        also_read: other files that must not be overwritten, such as the weights.

    Raises:
        InputError: an input or an output cannot be used.
    """
    video_info, audio_info = probe_video(video), probe_audio(audio)
    fps = video_info.fps if video_fps == "source" else Fraction(video_fps)
    if audio_info.duration_s > 0:
        check_length(audio, audio_info.duration_s, round(audio_info.duration_s * fps))
    check_finite_samples(audio_info)
    outputs.check((video, audio, *also_read))
    _check_temp_dir(temp_dir)
    return CheckedJob(video_info, audio_info, outputs)


def check_length(audio: Path, duration_s: float, num_frames: int) -> None:
    """Check that the driving audio covers at least one video frame.

    Raises:
        InputError: `num_frames` is 0.
    """
    if num_frames < 1:
        raise InputError(f"{audio} lasts {duration_s:.3f} s, less than one video frame: use longer audio")


def _check_temp_dir(folder: Path | None) -> None:
    chosen = Path(tempfile.gettempdir()) if folder is None else folder.absolute()
    try:
        nearest = next(path for path in (chosen, *chosen.parents) if path.exists())
        tempfile.TemporaryFile(dir=nearest).close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot use {chosen} for temporary files: {why}; name another --temp_dir") from error
