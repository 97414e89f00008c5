"""What can be known of a job before its work begins; the real run and the dry run ask the same."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from latentsync.errors import InputError
from latentsync.media.audio_samples import check_finite_samples
from latentsync.media.probe import AudioInfo, VideoInfo, probe_audio, probe_video
from latentsync.pipelines.output_files import OutputFiles


@dataclass(frozen=True)
class CheckedJob:
    """A job that can begin: its inputs and what it will write."""

    video: VideoInfo
    audio: AudioInfo
    outputs: OutputFiles


def check_job(
    video: Path,
    audio: Path,
    outputs: OutputFiles,
    video_fps: str = "25",
    temp_dir: Path | None = None,
    also_read: Iterable[Path] = (),
) -> CheckedJob:
    """Looks at the files of a job; writes nothing.

    Args:
        video: with a face.
        audio: speech, or a video whose sound is speech.
        outputs: what the run writes.
        video_fps: frames per second of the result, ``25`` or ``source``.
        temp_dir: where temporary files go (None: the system's place).
        also_read: other files that must not be written over, such as the weights.

    Raises:
        InputError: an input or an output cannot be used.
    """
    picture, sound = probe_video(video), probe_audio(audio)
    fps = picture.fps if video_fps == "source" else Fraction(video_fps)
    if sound.duration_s > 0 and round(sound.duration_s * fps) < 1:
        raise InputError(f"{audio} lasts {sound.duration_s:.3f} s, less than one video frame: give more speech")
    check_finite_samples(sound)
    outputs.check((video, audio, *also_read))
    _check_temporary(temp_dir)
    return CheckedJob(picture, sound, outputs)


def _check_temporary(folder: Path | None) -> None:
    chosen = Path(tempfile.gettempdir()) if folder is None else folder.absolute()
    try:
        nearest = next(path for path in (chosen, *chosen.parents) if path.exists())
        tempfile.TemporaryFile(dir=nearest).close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot use {chosen} for temporary files: {why}; name another --temp_dir") from error
