"""Step 1: broken files out. Everything is decoded once; the user's file is not changed, and goes on as it is.

What finds damage, measured with ffmpeg 5.1 on truncated, overwritten and zeroed files in mp4, fragmented mp4, mkv,
webm, ts, flv, avi and mpg: `-xerror` alone stops at damaged packets and at frames that the decoder had to conceal, and
passes open groups of pictures and files cut without encoding. `-err_detect explode` finds nothing more and refuses a
ts that begins in the middle of a broadcast. What `-xerror` lets through is caught by the time stamps: a truncated mkv
or webm ends before its header says, and a hole in one leaves a gap in the picture. A ts that was cut off between two
packets is a shorter ts, and passes. So do overwritten bytes that still decode (4 of 9 files with 40 of them).
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import torch

from latentsync.errors import ConfigError, InputError, ToolError
from latentsync.media.ffmpeg_tools import file_url, is_cut_short, is_write_error, last_line
from latentsync.media.transcode import list_decoded_frames
from preprocess.clip import Clip
from preprocess.raw_streams import read_raw_streams
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict

logger = logging.getLogger(__name__)

_HALF_A_SAMPLE = 0.5 / 32768
_STATED_TOLERANCE_S = 0.5
"""How much earlier than its header says a file may end: the last frame's length and the like."""


@dataclass(frozen=True)
class BrokenConfig:
    """What counts as broken.

    Attributes:
        max_difference_s: how much of the picture may lack sound, or of the sound lack picture, at both ends together.
        max_gap_s: the longest time without a new frame; more is taken for a hole in the file (or a frozen picture).
        min_s: what picture and sound have in common must last as long.
        silence_dbfs: sound that never gets louder than this (decibels below full scale) is silence.
    """

    max_difference_s: float = 0.5
    max_gap_s: float = 0.5
    min_s: float = 1.0
    silence_dbfs: float = -60.0

    def __post_init__(self) -> None:
        if min(self.max_difference_s, self.max_gap_s, self.min_s) <= 0 or not -96 <= self.silence_dbfs < 0:
            raise ConfigError("broken: max_difference_s, max_gap_s and min_s are positive, silence_dbfs is -96 to 0")


@dataclass(frozen=True)
class Decoded:
    """A stream, decoded to its end; seconds as the file has them.

    Attributes:
        start_s: time of the first frame, or of the first sample.
        stop_s: end of the last.
        gap_s: the longest time between the end of a frame and the beginning of the next.
        gap_at_s: where that is.
        is_zero: every byte of it is zero.
    """

    start_s: float
    stop_s: float
    gap_s: float
    gap_at_s: float
    is_zero: bool


@dataclass(frozen=True)
class BrokenStep:
    """Lets whole files with picture and sound through."""

    config: BrokenConfig = field(default_factory=BrokenConfig)

    number: ClassVar[int] = 1
    name: ClassVar[str] = "broken"
    folder: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "unreadable": "not a media file, empty, or without permission to read",
        "no_video": "no video stream, or no frame of it can be decoded",
        "no_sound": "no sound stream, or none of it can be decoded",
        "broken_stream": "damaged: does not decode to its end, ends before its header says, or has a hole",
        "silent": "the whole sound track is silence",
        "too_short": "picture and sound together last less than min_s",
        "durations_differ": "picture and sound differ in length or beginning by more than max_difference_s",
    }
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        """None."""
        return []

    def load(self, device: torch.device) -> Process:
        """Nothing to load."""
        return self._process

    def _process(self, clip: Clip, work: Path) -> Verdict:
        try:
            streams = read_raw_streams(clip.path)
        except InputError as error:
            return Rejected("unreadable", str(error))
        if streams.video is None:
            return Rejected("no_video", "no video stream")
        if streams.sound is None:
            return Rejected("no_sound", "no sound stream")
        complaint = self._decode(clip.path, work)
        video, sound = read_decoded(work / "video.txt"), read_decoded(work / "sound.txt")
        if complaint:
            return Rejected("broken_stream", complaint)
        if video is None:
            return Rejected("no_video", "no frame can be decoded")
        if sound is None:
            return Rejected("no_sound", "no sample can be decoded")
        return self._judge(video, sound, streams.stated_duration_s)

    def _decode(self, path: Path, work: Path) -> str:
        """List every decoded frame in `video.txt` and `sound.txt`; ffmpeg's last line where it stopped, else ""."""
        gain = _HALF_A_SAMPLE / 10 ** (self.config.silence_dbfs / 20)
        process = list_decoded_frames(path, work / "video.txt", work / "sound.txt", gain)
        complaint = process.stderr.decode(errors="replace")
        if process.returncode == 0 and not is_cut_short(complaint):
            return ""
        words = last_line(complaint.splitlines())
        if is_write_error(complaint) or str(work) in complaint:
            raise ToolError(f"the frames of {path.name} cannot be listed in {work}: {words}")
        return words.replace(file_url(path), path.name) or f"ffmpeg ended with status {process.returncode}"

    def _judge(self, video: Decoded, sound: Decoded, stated_s: float | None) -> Verdict:
        length_s = max(video.stop_s, sound.stop_s) - min(video.start_s, sound.start_s)
        common_s = min(video.stop_s, sound.stop_s) - max(video.start_s, sound.start_s)
        lengths = f"picture {video.start_s:.3f}-{video.stop_s:.3f} s, sound {sound.start_s:.3f}-{sound.stop_s:.3f} s"
        if stated_s is not None and length_s < stated_s - _STATED_TOLERANCE_S:
            return Rejected("broken_stream", f"{length_s:.2f} s can be decoded, the header says {stated_s:.2f} s")
        if video.gap_s > self.config.max_gap_s:
            return Rejected("broken_stream", f"no frame for {video.gap_s:.2f} s after {video.gap_at_s:.2f} s")
        if sound.is_zero:
            return Rejected("silent", f"never louder than {self.config.silence_dbfs:g} dBFS; {lengths}")
        if length_s - common_s > self.config.max_difference_s:
            return Rejected("durations_differ", lengths)
        if common_s < self.config.min_s:
            return Rejected("too_short", lengths)
        return Done((Output(facts={"duration_s": round(float(length_s), 3)}),))


def read_decoded(path: Path) -> Decoded | None:
    """What ffmpeg's `framecrc` wrote about one stream, read line by line; None where there is no frame."""
    start = stop = gap_at = None
    gap, is_zero = Fraction(0), True
    for time, duration, checksum in _frames(path):
        if stop is None:
            start = stop = time
        if time - stop > gap:
            gap, gap_at = time - stop, stop
        stop = max(stop, time + duration)
        is_zero = is_zero and checksum == 0
    if start is None or stop is None:
        return None
    return Decoded(float(start), float(stop), float(gap), float(gap_at or start), is_zero)


def _frames(path: Path) -> Iterator[tuple[Fraction, Fraction, int]]:
    """(time, duration, checksum) of every frame; the checksum is Adler-32 from 0, so zeros give 0."""
    if not path.is_file():
        return
    time_base = Fraction(1)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#tb"):
                time_base = Fraction(line.split(":")[1].strip())
            fields = line.split(",")
            if not line.startswith("#") and len(fields) >= 6:
                yield int(fields[2]) * time_base, int(fields[3]) * time_base, int(fields[5], 16)
