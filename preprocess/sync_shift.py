"""Puts the sound of a clip where its picture is: whole frames off the ends that have no partner, encoded once."""

from dataclasses import dataclass
from pathlib import Path

from latentsync.audio.sample_source import SAMPLE_RATE
from latentsync.media.ffmpeg import file_url, run_tool
from preprocess.encoding import (
    FPS,
    ONE_THREAD,
    QUIET,
    SAMPLES_PER_FRAME,
    check_clip,
    file_options,
    sound_options,
    video_options,
)


@dataclass(frozen=True)
class KeptPart:
    """What is left of picture and sound when one is moved against the other.

    Attributes:
        first_frame: first frame of the picture.
        first_sound_frame: the frame (640 samples each) whose sound belongs to it.
        num_frames: how many frames both go on; 0 or less where nothing is left.
    """

    first_frame: int
    first_sound_frame: int
    num_frames: int


def kept_part(offset: int, num_frames: int, num_samples: int) -> KeptPart:
    """The frames that have both picture and sound, where picture i belongs to the sound of frame ``i - offset``."""
    first = max(0, offset)
    stop = min(num_frames, num_samples // SAMPLES_PER_FRAME + offset)
    return KeptPart(first, first - offset, stop - first)


def write_part(source: Path, target: Path, part: KeptPart, crf: int) -> None:
    """Writes the kept part of a clip as step 6 writes it, exact to the frame and to the sample.

    Raises:
        ToolError: ffmpeg failed, or the clip is shorter than the part.
    """
    first_sample, stop_frame = part.first_sound_frame * SAMPLES_PER_FRAME, part.first_frame + part.num_frames
    stop_sample = first_sample + part.num_frames * SAMPLES_PER_FRAME
    picture = [f"settb=1/{FPS}", f"trim=start_pts={part.first_frame}:end_pts={stop_frame}", "setpts=PTS-STARTPTS"]
    samples = f"start_pts={first_sample}:end_pts={stop_sample}"
    sound = [f"asettb=1/{SAMPLE_RATE}", f"atrim={samples}", "asetpts=PTS-STARTPTS"]
    run_tool(
        [
            *(*QUIET, *ONE_THREAD, "-filter_threads", "1", "-i", file_url(source)),
            *("-map", "0:V:0", "-vf", ",".join(picture), *video_options(crf)),
            *("-map", "0:a:0", "-af", ",".join(sound), *sound_options(), *file_options(), file_url(target)),
        ]
    )
    check_clip(target, part.num_frames)
