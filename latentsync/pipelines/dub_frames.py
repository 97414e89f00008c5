"""Lip-sync frames and samples in memory: an iterable of frames in, an iterator of frames out, no video file.

The pipeline reads a video twice, and backwards where the speech is longer. So the given frames are first written to a
lossless temporary file, which bounds the memory for any iterable, and the result is yielded as it is generated.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from latentsync.device_memory import naming_memory_errors
from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import raw_video_input
from latentsync.media.transcode import encode_frames
from latentsync.pipelines.lipsync_job import Progress
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions, memory_remedy
from latentsync.pipelines.person_stages import DECODED_AHEAD
from latentsync.pipelines.sync_mode import max_source_frames
from latentsync.pipelines.voices import Voices
from latentsync.prefetch import prefetch
from latentsync.storage.temporary_files import temporary_folder

_PUBLISHED_EXCESS = 2
"""Frames by which a result may be longer than the speech (`windows.published_length`)."""
_MAX_FPS = 1000
_LOSSLESS = {"vcodec": "ffv1", "pix_fmt": "bgr0"}
"""Options of ffmpeg for a file that returns every RGB value; AVI keeps every frame rate exactly."""


def dub_frames(
    pipeline: LipsyncPipeline,
    frames: Iterable[NDArray[np.uint8]],
    fps: Fraction | float,
    samples: NDArray[np.generic],
    sample_rate: int,
    options: LipsyncOptions | None = None,
    temp_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield the frames of the result, (h, w, 3) uint8 RGB at `fps`, as they are generated.

    With the `sync_mode` ``bounce`` there are as many as the speech lasts. Frame i of the result belongs to frame i
    given; it is equal to it outside of the generated mouth. Closing the iterator cancels the work.

    Args:
        pipeline: the loaded networks; used by one iterator at a time.
        frames: (h, w, 3) uint8 RGB, all of one size: an array (f, h, w, 3), a list or any iterable, which is read
            once, no further than the speech requires, and one frame at a time.
        fps: frames per second of `frames` and of the result.
        samples: (n,) or (n, channels) driving audio: floating-point in [-1, 1], or int16.
        sample_rate: samples per second.
        options: see `LipsyncOptions`; those of the pipeline by default. `video_fps`, `compare`, `timeline` and `crf`
            have no effect.
        temp_dir: parent of a folder with the temporary file, which is removed at the end.
        progress: as for `LipsyncPipeline.__call__`.

    Raises:
        InputError: frames or samples cannot be used, or no face is found; those of the samples, of `fps` and of
            `options` at the call, all others at the first frame.
        DeviceMemoryError, NonFiniteError, CheckpointError: as for `LipsyncPipeline.__call__`.
    """
    rate = _checked_fps(fps)
    samples = _checked_samples(samples, sample_rate)
    options = replace(
        options or pipeline.default_options,
        video_fps="25" if rate == pipeline.model_fps else "source",
        compare=False,
        timeline=False,
    )
    pipeline.check_options(options)
    return _dub(pipeline, iter(frames), rate, samples, sample_rate, options, temp_dir, progress)


def _dub(
    pipeline: LipsyncPipeline,
    frames: Iterator[NDArray[np.uint8]],
    fps: Fraction,
    samples: NDArray[np.generic],
    sample_rate: int,
    options: LipsyncOptions,
    temp_dir: Path | str | None,
    progress: Progress | None,
) -> Generator[NDArray[np.uint8], None, None]:
    remedy = memory_remedy(pipeline.device, pipeline.synthesizer.unet.dtype, pipeline.resolution, options)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder(temp_dir))
        video, speech = folder / "frames.avi", folder / "samples.wav"
        num_speech_frames = ceil(len(samples) / sample_rate * fps) + _PUBLISHED_EXCESS
        _store_frames(islice(frames, max_source_frames(options, num_speech_frames)), fps, video)
        wavfile.write(speech, sample_rate, samples)
        job = stack.enter_context(
            pipeline.open_job(video, Voices.of(speech, options.face), folder / "unused.mp4", options, folder, progress)
        )
        stack.enter_context(naming_memory_errors("lip-sync", pipeline.device, remedy))
        people = pipeline.find_people(job)
        job = job.fit(len(people[0].plan))
        generated = pipeline.generate(job, people)
        ahead = stack.enter_context(closing(prefetch(generated, DECODED_AHEAD, stop=job.cancelled)))
        for num_done, frame in enumerate(ahead, 1):
            job.progress("lips", num_done, job.num_frames)
            yield frame.result


def _store_frames(frames: Iterator[NDArray[np.uint8]], fps: Fraction, path: Path) -> None:
    """Write frames to a lossless video.

    Raises:
        InputError: there is no frame, or one has another size or type than uint8 RGB.
    """
    first = next(frames, None)
    if first is None:
        raise InputError("there are no frames: give at least one (h, w, 3) uint8 RGB array")
    first = np.asarray(first)
    if first.ndim != 3 or first.shape[2] != 3:
        raise InputError(f"a frame has shape {first.shape}: give (h, w, 3) uint8 RGB arrays")
    height, width, _ = first.shape

    def checked() -> Iterator[NDArray[np.uint8]]:
        for index, frame in enumerate(chain([first], frames)):
            frame = np.asarray(frame)
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise InputError(
                    f"frame {index} is {frame.dtype} of shape {frame.shape}: all frames must be uint8 {first.shape}"
                )
            yield frame

    encode_frames(checked(), raw_video_input(width, height, fps), None, path, **_LOSSLESS)


def _checked_fps(fps: Fraction | float) -> Fraction:
    """Return the frame rate as a fraction that a file can hold.

    Raises:
        InputError: it is not a positive number of at most `_MAX_FPS`.
    """
    if not 0 < fps <= _MAX_FPS:
        raise InputError(f"fps is {fps}: give the frames per second of the frames, such as 25")
    return Fraction(fps).limit_denominator(1001)


def _checked_samples(samples: NDArray[np.generic], sample_rate: int) -> NDArray[np.generic]:
    """Return samples as a WAV file can hold them: int16 or float32.

    Raises:
        InputError: they have no sample, another shape or type, or are not finite.
    """
    samples = np.asarray(samples)
    if sample_rate < 1:
        raise InputError(f"sample_rate is {sample_rate}: give the samples per second, such as 16000")
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise InputError(f"samples have shape {samples.shape}: give an array (n,) or (n, channels)")
    if samples.dtype == np.int16:
        return samples
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"samples are {samples.dtype}: give floating-point numbers in [-1, 1], or int16")
    if not np.isfinite(samples).all():
        raise InputError("samples contain NaN or infinity: give numbers in [-1, 1]")
    return samples.astype(np.float32)
