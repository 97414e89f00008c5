"""Puts the sound of a clip where its picture is: whole frames off the ends that have no partner, encoded once."""

from dataclasses import dataclass
from pathlib import Path

from preprocess.cut import ClipCutter
from preprocess.encoding import SAMPLES_PER_FRAME


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
    ClipCutter(source, crf).cut(part.first_frame, part.num_frames, target, part.first_sound_frame)
