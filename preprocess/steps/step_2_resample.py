"""Step 2: convert to 25 frames per second and 16 kHz mono audio, upright, square pixels, 8-bit H.264 in mp4.

Video and audio of the clip start at 0 and have the same length: n frames at i / 25 s exactly, and 640 n samples. Time 0
is the first frame, or the start of the audio if that is a frame or more later. Missing audio of less than a frame, and
gaps in the audio, become silence. What is longer is cut off.

The video stream is copied if it has this format already, else it is encoded once. Frames are assigned to the nearest
point of the grid, as in `VideoReader`: at 30 and 60 fps, 24000/1001 and the variable rates of phones, frames are
dropped or repeated. Interlaced frames are deinterlaced (bwdif); an odd side loses its last row or column. HDR (PQ, HLG)
keeps its transfer curve, as in `VideoReader`: pale, but equal in training and inference.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from latentsync.errors import ConfigError, InputError, ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg_tools import is_write_error
from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.transcode import decode_audio, join_clip, resample_video
from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from preprocess.steps.clip_files import FPS, SAMPLES_PER_FRAME, check_clip, count_frames
from preprocess.steps.raw_streams import RawAudio, RawVideo, count_on_grid, read_raw_streams

_BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class ResampleConfig:
    """Settings of step 2.

    Attributes:
        crf: x264's constant rate factor, 0 (lossless) to 51. The default of 10 is nearly lossless, because later steps
            encode again.
    """

    crf: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"resample.crf {self.crf} is out of range: use 0 (lossless) to 51")


@dataclass(frozen=True)
class ResampleStep(CpuStep):
    """Writes the clip in the format that all later steps expect.

    Facts: num_frames (int), width and height (int, pixels, upright), video_copied (bool).
    """

    config: ResampleConfig = field(default_factory=ResampleConfig)

    number: ClassVar[int] = 2
    name: ClassVar[str] = "resample"
    folder: ClassVar[str | None] = "resampled"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "nothing_in_common": "at no time does the file have both video and audio",
    }

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the resampled clip, written into `work`."""
        streams = read_raw_streams(clip.path)
        if streams.video is None or streams.audio is None:
            raise InputError(f"{clip.path} lacks video or audio: step 1 rejects such files, do not skip it")
        info = probe_video(clip.path)
        start_s = _start_s(streams.video, streams.audio)
        audio = work / "audio.s16"
        decode_audio(clip.path, audio, start_s)
        num_samples = audio.stat().st_size // _BYTES_PER_SAMPLE
        target = work / f"{self.name}.mp4"
        num_frames = _copy(clip.path, streams.video, start_s, audio, num_samples, target)
        is_copied = num_frames > 0
        if not is_copied:
            video = work / "video.mp4"
            max_frames = math.ceil(num_samples / SAMPLES_PER_FRAME)
            num_frames = self._encode(info, streams.video, start_s, max_frames, video)
            if num_frames == 0:
                return Rejected("nothing_in_common", f"{num_samples / SAMPLE_RATE:.3f} s of audio, no frame with it")
            join_clip(video, audio, target, num_frames * SAMPLES_PER_FRAME)
            video.unlink()
            check_clip(target, num_frames)
        audio.unlink()
        width, height = info.width // 2 * 2, info.height // 2 * 2
        facts = {"num_frames": num_frames, "width": width, "height": height, "video_copied": is_copied}
        return Done((Output(target, facts=facts),))

    def _encode(self, info: VideoInfo, video: RawVideo, start_s: Fraction, max_frames: int, target: Path) -> int:
        """Encode at most `max_frames` video frames from time `start_s`, without audio; return their number."""
        if max_frames == 0:
            return 0
        resample_video(
            info,
            target,
            fps=FPS,
            crf=self.config.crf,
            start_s=start_s,
            max_frames=max_frames,
            color_space=video.color_space,
            is_full_range=video.is_full_range,
            is_interlaced=video.is_interlaced,
        )
        return count_frames(target)


def _start_s(video: RawVideo, audio: RawAudio) -> Fraction:
    """Return the time stamp in the file that becomes time 0 of the clip."""
    return audio.start_s if audio.start_s - video.start_s >= Fraction(1, FPS) else video.start_s


def _copy(path: Path, video: RawVideo, start_s: Fraction, audio: Path, num_samples: int, target: Path) -> int:
    """Copy the file's video stream, joined with the audio; return the number of frames, or 0 if it must be encoded."""
    if not video.is_plain or start_s != video.start_s:
        return 0
    num_frames = count_on_grid(path, video)
    if num_frames is None or num_frames > math.ceil(num_samples / SAMPLES_PER_FRAME):
        return 0
    try:
        join_clip(path, audio, target, num_frames * SAMPLES_PER_FRAME, -start_s)
        check_clip(target, num_frames)
    except ToolError as error:  # such as a stream that mp4 cannot contain
        if is_write_error(str(error)):
            raise
        target.unlink(missing_ok=True)
        return 0
    return num_frames
