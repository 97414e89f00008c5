"""What a clip's file holds, found by decoding all of it once and remembered by content."""

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from latentsync.data.video_window import picture_facts
from latentsync.errors import InputError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg import finished_process, input_options
from latentsync.storage.atomic import atomic_write

_SOUND_FILTER = "aresample=async=1:first_pts=0"
"""As `AudioSamples` decodes, so that both count the same samples."""
_BYTES_PER_SAMPLE = 2
_VERSION = 1
"""Of what is remembered; another number forgets all."""


@dataclass(frozen=True)
class ClipFacts:
    """A clip as it is.

    Attributes:
        num_frames: frames that can be read.
        width, height: size of the picture in pixels.
        fps: frames per second on average.
        num_samples: length of the sound at 16 kHz; 0 without sound.
        fault: why the file cannot be used at all, in a few words; None where it can.
    """

    num_frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    num_samples: int = 0
    fault: str | None = None

    def frames_with_sound(self, fps: Fraction) -> int:
        """Leading frames that have sound over their whole duration."""
        return min(self.num_frames, int(self.num_samples * fps / SAMPLE_RATE))


def clip_facts(path: Path, key: str, cache: Path | None) -> ClipFacts:
    """What a clip holds, from the cache where it is known. Faults are part of the answer."""
    stored = None if cache is None else cache / "clip_facts" / key[:2] / f"{key}.{_VERSION}.json"
    if stored is not None:
        try:
            return ClipFacts(**json.loads(stored.read_text()))
        except (OSError, ValueError, TypeError):
            pass  # unknown yet, or damaged: look again
    try:
        facts = _look(path)
    except InputError as error:
        facts = ClipFacts(fault=str(error).removeprefix(str(path)).split(": ")[0].strip())
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(stored) as beside:
            beside.write_text(json.dumps(asdict(facts)))
    return facts


def _look(path: Path) -> ClipFacts:
    facts = picture_facts(path)
    num_samples = _decode_all(path, with_sound=True)
    if num_samples is None and _decode_all(path, with_sound=False) is None:
        raise InputError(f"{path} is damaged: convert it again")
    return ClipFacts(*facts, num_samples or 0)


def _decode_all(path: Path, with_sound: bool) -> int | None:
    """Decode every frame, and every sample; number of samples at 16 kHz, None where ffmpeg complains."""
    picture = ["-map", "0:V:0", "-f", "null", "-"]
    sound = ["-map", "0:a:0", "-af", _SOUND_FILTER, "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "pipe:1"]
    outputs = [*picture, *(sound if with_sound else [])]
    process = finished_process(["ffmpeg", "-nostdin", "-v", "error", *input_options(path), *outputs])
    if process.returncode != 0 or process.stderr.strip():
        return None
    return len(process.stdout) // _BYTES_PER_SAMPLE
