"""Step 2: every clip at 25 frames per second with 16 kHz mono sound, upright, square pixels, 8-bit H.264 in mp4.

Picture and sound begin at 0 together and end together: n frames at i / 25 s exactly, and 640 n samples. Time 0 is the
first frame, or the sound's beginning where that comes a frame or more later; a part of a frame that lacks sound is
silence, and so are gaps in the sound. What is longer is cut off.

The video stream is copied where it is already like that; else it is encoded once. Frames go to the nearest point of the
grid, as `VideoReader` does it: 30 and 60 fps, 24000/1001 and phones' variable rates lose or repeat frames.
Interlaced pictures become whole ones (bwdif), an odd side loses its last row. HDR keeps its curve (see `encoding`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import torch

from latentsync.errors import ConfigError, InputError, ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg_tools import is_write_error
from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.transcode import decode_audio, join_clip, resample_video
from preprocess.clip import Clip
from preprocess.encoding import FPS, SAMPLES_PER_FRAME, check_clip, count_frames
from preprocess.raw_streams import RawStreams, RawVideo, count_on_grid, read_raw_streams
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict

_BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class ResampleConfig:
    """How clips are encoded.

    Attributes:
        crf: x264's constant rate factor, 0 (lossless) to 51; 10 is all but lossless, since more encodes follow.
    """

    crf: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"resample.crf {self.crf} is out of range: use 0 (lossless) to 51")


@dataclass(frozen=True)
class ResampleStep:
    """Makes the clip that all later steps work on.

    Facts: num_frames (int), width and height (int, pixels, upright), video_copied (bool).
    """

    config: ResampleConfig = field(default_factory=ResampleConfig)

    number: ClassVar[int] = 2
    name: ClassVar[str] = "resample"
    folder: ClassVar[str | None] = "resampled"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = {
        "nothing_in_common": "there is no time at which the file has both picture and sound",
    }
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        """None."""
        return []

    def load(self, device: torch.device) -> Process:
        """Nothing to load."""
        return self._process

    def _process(self, clip: Clip, work: Path) -> Verdict:
        streams = read_raw_streams(clip.path)
        if streams.video is None or streams.sound is None:
            raise InputError(f"{clip.path} lacks picture or sound: step 1 rejects such files, do not skip it")
        info = probe_video(clip.path)
        origin_s = _origin_s(streams)
        sound = work / "sound.s16"
        decode_audio(clip.path, sound, origin_s)
        num_samples = sound.stat().st_size // _BYTES_PER_SAMPLE
        target = work / f"{self.name}.mp4"
        num_frames = _copy(clip.path, streams.video, origin_s, sound, num_samples, target)
        is_copied = num_frames > 0
        if not is_copied:
            picture = work / "picture.mp4"
            max_frames = math.ceil(num_samples / SAMPLES_PER_FRAME)
            num_frames = self._encode(info, streams.video, origin_s, max_frames, picture)
            if num_frames == 0:
                return Rejected("nothing_in_common", f"{num_samples / SAMPLE_RATE:.3f} s of sound, no frame beside it")
            join_clip(picture, sound, target, num_frames * SAMPLES_PER_FRAME)
            picture.unlink()
            check_clip(target, num_frames)
        sound.unlink()
        width, height = _even_size(info)
        facts = {"num_frames": num_frames, "width": width, "height": height, "video_copied": is_copied}
        return Done((Output(target, facts=facts),))

    def _encode(self, info: VideoInfo, video: RawVideo, origin_s: Fraction, max_frames: int, target: Path) -> int:
        """Write the picture alone, from origin_s, max_frames at most; how many frames it has."""
        if max_frames == 0:
            return 0
        resample_video(
            info,
            target,
            fps=FPS,
            crf=self.config.crf,
            start_s=origin_s,
            max_frames=max_frames,
            color_space=video.color_space,
            is_full_range=video.is_full_range,
            is_interlaced=video.is_interlaced,
        )
        return count_frames(target)


def _origin_s(streams: RawStreams) -> Fraction:
    """The file's time that becomes 0."""
    assert streams.video is not None
    assert streams.sound is not None
    picture_s, sound_s = streams.video.start_s, streams.sound.start_s
    return sound_s if sound_s - picture_s >= Fraction(1, FPS) else picture_s


def _copy(path: Path, video: RawVideo, origin_s: Fraction, sound: Path, num_samples: int, target: Path) -> int:
    """Join the file's own video stream and the sound, if nothing of the picture has to change; frames, else 0."""
    if not video.is_plain or origin_s != video.start_s:
        return 0
    num_frames = count_on_grid(path, video)
    if num_frames is None or num_frames > math.ceil(num_samples / SAMPLES_PER_FRAME):
        return 0
    try:
        join_clip(path, sound, target, num_frames * SAMPLES_PER_FRAME, -origin_s)
        check_clip(target, num_frames)
    except ToolError as error:  # such as a stream that mp4 does not take
        if is_write_error(str(error)):
            raise
        target.unlink(missing_ok=True)
        return 0
    return num_frames


def _even_size(info: VideoInfo) -> tuple[int, int]:
    return info.width // 2 * 2, info.height // 2 * 2
