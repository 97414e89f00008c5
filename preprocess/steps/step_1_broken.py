"""Step 1: reject broken files. Every file is decoded once and passed on unchanged.

Damage is detected by ffmpeg's `-xerror` and by time stamps, chosen by tests with ffmpeg 5.1 on truncated, overwritten
and zeroed files in mp4, fragmented mp4, mkv, webm, ts, flv, avi and mpg:

* `-xerror` alone stops at damaged packets and at frames that the decoder had to conceal. It accepts open groups of
  pictures and files cut without encoding. `-err_detect explode` finds nothing more, and refuses a ts that starts in the
  middle of a broadcast.
* Time stamps reveal the rest: a truncated mkv or webm ends before the duration in its header, and a hole in one leaves
  a gap between frames.
* Not detected: a ts cut off between two packets, which is a valid shorter ts, and overwritten bytes that still decode
  (4 of 9 files with 40 overwritten bytes).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from latentsync.errors import ConfigError, InputError, ToolError
from latentsync.media.ffmpeg_tools import file_url, is_cut_short, is_write_error, last_line
from latentsync.media.transcode import list_decoded_frames
from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from preprocess.steps.raw_streams import read_raw_streams

_HALF_A_SAMPLE = 0.5 / 32768
_STATED_TOLERANCE_S = 0.5
"""Largest accepted difference between the duration in the header and the decoded duration; some headers omit the length
of the last frame."""


@dataclass(frozen=True)
class BrokenConfig:
    """Settings of step 1.

    Attributes:
        max_difference_s: maximum length in seconds, both ends together, in which only video or only audio is present.
        max_gap_s: maximum time in seconds without a new frame; a longer gap is a hole in the file or a frozen video.
        min_s: minimum length in seconds of the part that has both video and audio.
        silence_dbfs: audio whose level never exceeds this (dB relative to full scale, -96 to 0) is silent.
    """

    max_difference_s: float = 0.5
    max_gap_s: float = 0.5
    min_s: float = 1.0
    silence_dbfs: float = -60.0

    def __post_init__(self) -> None:
        if min(self.max_difference_s, self.max_gap_s, self.min_s) <= 0 or not -96 <= self.silence_dbfs < 0:
            raise ConfigError("broken: use max_difference_s, max_gap_s and min_s above 0, silence_dbfs -96 to 0")


@dataclass(frozen=True)
class DecodedStream:
    """Summary of a completely decoded stream. Times are the file's time stamps in seconds.

    Attributes:
        start_s: start of the first video or audio frame.
        stop_s: end of the last one.
        gap_s: longest time between the end of a frame and the start of the next.
        gap_at_s: start of that gap.
        is_zero: True if every byte is zero.
    """

    start_s: float
    stop_s: float
    gap_s: float
    gap_at_s: float
    is_zero: bool


@dataclass(frozen=True)
class BrokenStep(CpuStep):
    """Accepts undamaged files with video and audio. Facts: duration_s (float)."""

    config: BrokenConfig = field(default_factory=BrokenConfig)

    number: ClassVar[int] = 1
    name: ClassVar[str] = "broken"
    folder: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "unreadable": "not a media file, empty, or without permission to read",
        "no_video": "no video stream, or no frame of it can be decoded",
        "no_sound": "no audio stream, or no sample of it can be decoded",
        "broken_stream": "damaged: cannot be decoded to the end, is shorter than its header states, or has a gap",
        "silent": "the whole audio track is silent",
        "too_short": "the part with both video and audio is shorter than min_s",
        "durations_differ": "video and audio differ in start or length by more than max_difference_s",
    }

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the result for one file. Lists of its frames are written into `work`."""
        try:
            streams = read_raw_streams(clip.path)
        except InputError as error:
            return Rejected("unreadable", str(error))
        if streams.video is None:
            return Rejected("no_video", "no video stream")
        if streams.audio is None:
            return Rejected("no_sound", "no audio stream")
        decode_error = self._decode(clip.path, work)
        video, audio = read_frame_list(work / "video.txt"), read_frame_list(work / "audio.txt")
        if decode_error:
            return Rejected("broken_stream", decode_error)
        if video is None:
            return Rejected("no_video", "no frame can be decoded")
        if audio is None:
            return Rejected("no_sound", "no sample can be decoded")
        return self._check(video, audio, streams.stated_duration_s)

    def _decode(self, path: Path, work: Path) -> str:
        """Decode the file and list its frames in `video.txt` and `audio.txt`; return ffmpeg's error, or ""."""
        gain = _HALF_A_SAMPLE / 10 ** (self.config.silence_dbfs / 20)
        process = list_decoded_frames(path, work / "video.txt", work / "audio.txt", gain)
        messages = process.stderr.decode(errors="replace")
        if process.returncode == 0 and not is_cut_short(messages):
            return ""
        error = last_line(messages.splitlines())
        if is_write_error(messages) or str(work) in messages:
            raise ToolError(f"the frames of {path.name} cannot be listed in {work}: {error}")
        return error.replace(file_url(path), path.name) or f"ffmpeg ended with status {process.returncode}"

    def _check(self, video: DecodedStream, audio: DecodedStream, stated_s: float | None) -> StepResult:
        total_s = max(video.stop_s, audio.stop_s) - min(video.start_s, audio.start_s)
        common_s = min(video.stop_s, audio.stop_s) - max(video.start_s, audio.start_s)
        times = f"video {video.start_s:.3f}-{video.stop_s:.3f} s, audio {audio.start_s:.3f}-{audio.stop_s:.3f} s"
        if stated_s is not None and total_s < stated_s - _STATED_TOLERANCE_S:
            return Rejected("broken_stream", f"{total_s:.2f} s can be decoded, the header states {stated_s:.2f} s")
        if video.gap_s > self.config.max_gap_s:
            return Rejected("broken_stream", f"no frame for {video.gap_s:.2f} s after {video.gap_at_s:.2f} s")
        if audio.is_zero:
            return Rejected("silent", f"never louder than {self.config.silence_dbfs:g} dBFS; {times}")
        if total_s - common_s > self.config.max_difference_s:
            return Rejected("durations_differ", times)
        if common_s < self.config.min_s:
            return Rejected("too_short", times)
        return Done((Output(facts={"duration_s": round(float(total_s), 3)}),))


def read_frame_list(path: Path) -> DecodedStream | None:
    """Read a list written by ffmpeg's muxer `framecrc` line by line; return None if it has no frame."""
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
    return DecodedStream(float(start), float(stop), float(gap), float(gap_at or start), is_zero)


def _frames(path: Path) -> Iterator[tuple[Fraction, Fraction, int]]:
    """Yield (time, duration, checksum) of every frame. The checksum is Adler-32 from 0, so zeros give 0."""
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
