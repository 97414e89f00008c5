"""One lip-sync job: its inputs and outputs, checked before the work, and its open resources while it runs.

The user names the result, which is replaced if it exists. The names of the files beside it are derived from that name,
so an existing one is replaced only if its metadata shows that this program made it. So is a result that is not named.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from latentsync.audio.sample_source import SAMPLE_RATE, SampleSource
from latentsync.errors import InputError, LatentSyncError
from latentsync.media.audio_samples import check_finite_samples
from latentsync.media.occluder_masks import OccluderMasks
from latentsync.media.probe import AudioInfo, VideoInfo, probe_audio, probe_streams, probe_video
from latentsync.media.writer import COPIED_CODECS, MADE_BY, MADE_RESULT, VideoWriter
from latentsync.pipelines.occluders import check_occluder
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.sync_mode import result_length
from latentsync.pipelines.video_maker import is_record
from latentsync.pipelines.voices import Voices
from latentsync.storage.atomic import StagedFiles
from latentsync.storage.output_file import check_no_inputs, check_writable

if TYPE_CHECKING:  # these import torch, which --help does without
    from latentsync.audio.speech_activity import SpeechInterval
    from latentsync.face.xseg import XSegOccluder

RECORD_SUFFIX = ".lipsync.json"
"""Appended to the name of a result of a list: the record of how it was made."""

_OUTPUT_REMEDY = "choose another --video_out_path"

Progress = Callable[[str, float, int], None]
"""Called with (stage, frames done, total frames); the stages are ``faces``, ``speaker`` (if selected) and ``lips``."""

FrameCallback = Callable[[int, np.ndarray, np.ndarray, np.ndarray | None], None]
"""Called for every finished frame, in order: index in the result, source and result (h, w, 3) uint8, and the (2, 3)
matrix from frame to face crop, of several people that of the first one visible, None for an unchanged frame."""


class Cancelled(Exception):
    """The job was stopped during the denoising loop."""


@dataclass(frozen=True)
class LipsyncOutputs:
    """Files that one lip-sync job writes.

    Attributes:
        video: the result, as named by the user.
        sheet: contact sheet.
        comparison: source and result side by side, if requested.
        record: record of a job of a list.
        timeline: image of what was done when, if requested.
        is_named: the user has named the result, so that an existing file is replaced whoever made it.
    """

    video: Path
    sheet: Path
    comparison: Path | None = None
    record: Path | None = None
    timeline: Path | None = None
    is_named: bool = True

    @classmethod
    def of(
        cls, video: Path, compare: bool, with_record: bool = False, timeline: bool = False, is_named: bool = True
    ) -> "LipsyncOutputs":
        """Return the files that belong to a result.

        Raises:
            InputError: the path is not that of a video that can be written.
        """
        if "\0" in str(video):
            raise InputError(f"the output {str(video)!r} is not a valid file name: {_OUTPUT_REMEDY}")
        if video.name in ("", "..") or os.path.isdir(video):
            raise InputError(f"the output {video} is a folder: name a file such as {video / 'video_out.mp4'}")
        if video.suffix.lower() not in COPIED_CODECS:
            raise InputError(f"{video} cannot be written: name an output that ends in .mp4, .mov or .mkv")
        return cls(
            video,
            video.with_name(f"{video.stem}_sheet.png"),
            video.with_name(f"{video.stem}_compare{video.suffix}") if compare else None,
            video.with_name(video.name + RECORD_SUFFIX) if with_record else None,
            video.with_name(f"{video.stem}_timeline.png") if timeline else None,
            is_named,
        )

    def beside(self) -> list[Path]:
        """Return the files whose names are derived from that of the video."""
        return [path for path in (self.sheet, self.comparison, self.record, self.timeline) if path is not None]

    def all(self) -> list[Path]:
        """Return the video and the files beside it."""
        return [self.video, *self.beside()]

    def check(self, inputs: Iterable[Path]) -> None:
        """Check everything that can be checked before the work starts; leave nothing behind.

        Args:
            inputs: all files that the job reads.

        Raises:
            InputError: a file is an input, a folder, not made by this program, or its folder is not writable.
        """
        for path in self.all():
            check_writable(path, _OUTPUT_REMEDY)
        check_no_inputs(self.all(), inputs, "--video_out_path")
        for path in self.beside():
            if os.path.lexists(path) and not _was_made_here(path):
                raise InputError(f"{path} exists and was not made by this program: move it, or {_OUTPUT_REMEDY}")
        if not self.is_named and os.path.lexists(self.video) and not _has_comment(self.video, MADE_RESULT):
            raise InputError(f"{self.video} exists and was not made by this program: move it, or name --video_out_path")


@dataclass(frozen=True)
class CheckedJob:
    """A job that can start: its probed inputs and its outputs.

    Attributes:
        video: source video.
        speeches: driving audio of each voice.
        outputs: files to write.
        masks: masks of things in front of the faces, or None.
    """

    video: VideoInfo
    speeches: tuple[AudioInfo, ...]
    outputs: LipsyncOutputs
    masks: OccluderMasks | None = None


@dataclass(frozen=True)
class OpenVoice:
    """A voice whose speech is decoded.

    Attributes:
        face: selector of the person.
        speech: the speech as given by the user.
        samples: the speech at 16 kHz.
        activity: where the samples contain speech; None if any sound moves the mouth.
    """

    face: str
    speech: Path
    samples: SampleSource
    activity: "Sequence[SpeechInterval] | None" = None


@dataclass(frozen=True)
class LipsyncJob:
    """A job with open resources, which the steps of `LipsyncPipeline` take; built by `LipsyncPipeline.open_job`.

    Attributes:
        video: source video.
        voices: speech of each person.
        keep_people: see `Voices`.
        sound: audio file with the sound of the result; None for a segment of one.
        duration_s: length of that sound in the result.
        num_samples: length of the speech in samples, with the silence that follows it.
        outputs: files to write.
        staged: temporary files that become the outputs together.
        folder: folder for temporary files.
        options: options of the job.
        fps: frames per second of the result.
        num_frames: length of the result; that of the speech until `fit` is called.
        progress: receives the number of finished frames.
        frame_callback: receives every finished frame, or None.
        masks: masks of things in front of the faces, or None.
        xseg: finds things in front of the faces, or None.
        cancelled: set when the consumer of the frames has stopped; the denoising loop polls it.
        has_silent_end: silence follows the sound up to `duration_s`.
    """

    video: VideoInfo
    voices: tuple[OpenVoice, ...]
    keep_people: bool
    sound: Path | None
    duration_s: float
    num_samples: int
    outputs: LipsyncOutputs
    staged: StagedFiles
    folder: Path
    options: LipsyncOptions
    fps: Fraction
    num_frames: int
    progress: Progress
    frame_callback: FrameCallback | None = None
    masks: OccluderMasks | None = None
    xseg: "XSegOccluder | None" = None
    cancelled: Event = field(default_factory=Event)
    has_silent_end: bool = False

    def fit(self, num_source_frames: int) -> "LipsyncJob":
        """Return the job with the length that its `sync_mode` gives the result.

        Args:
            num_source_frames: number of source frames that the first pass counted.
        """
        num_frames = result_length(self.options, num_source_frames, self.num_frames)
        if num_frames == self.num_frames:
            return self
        duration_s = float(num_frames / self.fps)
        return replace(
            self,
            num_frames=num_frames,
            duration_s=duration_s,
            num_samples=max(self.num_samples, round(duration_s * SAMPLE_RATE)),
            has_silent_end=num_frames > self.num_frames,
        )

    def open_writer(self, path: Path, width: int, comment: str) -> VideoWriter:
        """Return a writer for an output video of the source's height, with the sound of the result."""
        return VideoWriter(
            path,
            width,
            self.video.height,
            self.fps,
            crf=self.options.crf,
            audio_path=self.sound,
            audio_duration_s=self.duration_s,
            pad_audio=self.has_silent_end,
            staged_path=self.staged.path_of(path),
            comment=comment,
        )


def check_job(
    video: Path,
    voices: Voices,
    outputs: LipsyncOutputs,
    options: LipsyncOptions,
    temp_dir: Path | None = None,
    also_read: Iterable[Path] = (),
) -> CheckedJob:
    """Check the files of a job without writing anything; a dry run does the same checks as a real one.

    Args:
        video: source video.
        voices: speech and sound.
        outputs: files that the job writes.
        options: of the job.
        temp_dir: parent folder for temporary files; None for the system default.
        also_read: other files that must not be overwritten, such as the weights.

    Raises:
        ConfigError: voices and options contradict each other.
        InputError: an input or an output cannot be used.
    """
    if options.exact:
        voices.check_exact()
    video_info, speeches = probe_video(video), tuple(probe_audio(path) for path in voices.speeches)
    fps = video_info.fps if options.video_fps == "source" else Fraction(options.video_fps)
    longest = max(speeches, key=lambda speech: speech.duration_s)
    if all(speech.duration_s > 0 for speech in speeches):
        check_length(longest.path, longest.duration_s, round(longest.duration_s * fps))
    for audio in (*speeches, *([] if voices.sound is None else [probe_audio(voices.sound)])):
        check_finite_samples(audio)
    masks = check_occluder(options.occluder, video_info, fps)
    outputs.check((video, *voices.files(), *([] if masks is None else masks.files), *also_read))
    _check_temp_dir(temp_dir)
    return CheckedJob(video_info, speeches, outputs, masks)


def check_length(audio: Path, duration_s: float, num_frames: int) -> None:
    """Check that the driving audio covers at least one video frame.

    Raises:
        InputError: `num_frames` is 0.
    """
    if num_frames < 1:
        raise InputError(f"{audio} lasts {duration_s:.3f} s, less than one video frame: use longer audio")


def check_distinct(all_outputs: Sequence[LipsyncOutputs], inputs: Iterable[Path], where: str) -> None:
    """Check that the jobs of a list do not overwrite each other's files.

    Args:
        all_outputs: outputs of each job.
        inputs: inputs of all jobs.
        where: the list, for the message.

    Raises:
        InputError: two jobs write to one file, or one overwrites an input of another.
    """
    read = {_resolved(path) for path in inputs}
    written: dict[Path, Path] = {}
    for outputs in all_outputs:
        for path in outputs.all():
            resolved = _resolved(path)
            if resolved in read:
                raise InputError(f"{where}: {path} is also an input: choose another video_out_path")
            if resolved in written:
                raise InputError(
                    f"{where}: two jobs write to {path} ({written[resolved].name} and {outputs.video.name}): give each "
                    "its own video_out_path"
                )
            written[resolved] = outputs.video


def _check_temp_dir(folder: Path | None) -> None:
    chosen = Path(tempfile.gettempdir()) if folder is None else folder.absolute()
    try:
        nearest = next(path for path in (chosen, *chosen.parents) if path.exists())
        tempfile.TemporaryFile(dir=nearest).close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot use {chosen} for temporary files: {why}; name another --temp_dir") from error


def _was_made_here(path: Path) -> bool:
    """Return True if the metadata of a file beside a result shows that this program made it."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                return image.info.get("Software") == MADE_BY
        if path.suffix == ".json":
            return is_record(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return _has_comment(path, MADE_BY)


def _has_comment(video: Path, comment: str) -> bool:
    try:
        tags = probe_streams(video).get("format", {}).get("tags", {})
    except (OSError, ValueError, LatentSyncError):
        return False
    return comment in (tags.get("comment"), tags.get("COMMENT"))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()
