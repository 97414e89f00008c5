"""How every clip between two steps is written: 25 fps H.264 and lossless 16 kHz mono sound, the same bits every time.

The sound is ALAC: AAC would begin with 1024 samples of priming, and lose a little at every step.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.errors import ToolError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg import input_options, run_tool

FPS = 25
"""Frames per second of every clip."""

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
"""A clip of n frames has exactly 640 n samples of sound."""

_TIME_SCALE = "12800"
_PRESET = "veryfast"
"""The pieces are large anyway at such a crf, and the next step encodes anew; faster presets save most of the time."""

QUIET = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
"""How every command begins. The clips are cut by many workers at a time, so a process uses one thread."""

ONE_THREAD = ["-threads", "1"]
"""Before an input: of its decoders. Before an output: of its encoders (x264's output depends on their number)."""


def video_options(crf: int) -> list[str]:
    """Options of an output whose picture is encoded: H.264, 8-bit 4:2:0, tagged BT.709; frames must come at 25 fps."""
    return [
        *("-c:v", "libx264", "-preset", _PRESET, "-crf", str(crf), "-pix_fmt", "yuv420p", *ONE_THREAD),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
    ]


def sound_options() -> list[str]:
    """Options of an output with sound."""
    return ["-c:a", "alac", "-sample_fmt", "s16p", "-ar", str(SAMPLE_RATE), "-ac", "1"]


def file_options() -> list[str]:
    """Options of every output: no date, program name, chapter or tag of the source, so that equal clips are equal."""
    return [
        *("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-flags:a", "+bitexact", "-video_track_timescale", _TIME_SCALE, "-movflags", "+faststart"),
    ]


def to_bt709(matrix: str, *, is_full_range: bool = False) -> str:
    """Filters from any colours to 8-bit BT.709 of limited range, through RGB.

    swscale turns one YCbCr matrix into another in 8 bits only, hence the way through RGB. HDR (PQ, HLG) keeps its
    transfer curve, as `VideoReader` does: pale, but the same in training and in use.

    Args:
        matrix: as ffprobe names it, or a guess where the file names none.
        is_full_range: the source uses 0-255 instead of 16-235.
    """
    if matrix == "bt709" and not is_full_range:
        return "format=yuv420p"
    flags = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    source = [] if matrix not in _MATRICES else [f"in_color_matrix={_MATRICES[matrix]}"]
    to_rgb = ":".join([f"scale=in_range={'pc' if is_full_range else 'tv'}", flags, *source])
    return f"{to_rgb},format=gbrp,scale=out_color_matrix=bt709:out_range=tv:{flags},format=yuv420p"


_MATRICES = {
    "bt709": "bt709", "bt601": "bt601", "smpte170m": "bt601", "bt470bg": "bt601", "fcc": "fcc",
    "smpte240m": "smpte240m", "bt2020nc": "bt2020", "bt2020c": "bt2020",
}  # fmt: skip


def check_clip(path: Path, num_frames: int) -> None:
    """ToolError unless the file has so many frames at i / 25 s and 640 samples for each, both from time 0.

    It asks the file's index, which ffmpeg wrote from the very packets; nothing is decoded.
    """
    entries = "stream=codec_type,nb_frames,avg_frame_rate,r_frame_rate,start_pts,duration_ts,time_base,sample_rate"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", *input_options(path)]
    streams = {stream["codec_type"]: stream for stream in json.loads(run_tool(command)).get("streams", [])}
    video, sound = streams.get("video", {}), streams.get("audio", {})
    found = (int(video.get("nb_frames", 0)), _num_samples(sound))
    is_regular = all(video.get(rate) == f"{FPS}/1" for rate in ("avg_frame_rate", "r_frame_rate"))
    begins_at_0 = video.get("start_pts") == 0 and sound.get("start_pts") == 0
    if found != (num_frames, num_frames * SAMPLES_PER_FRAME) or not is_regular or not begins_at_0:
        raise ToolError(
            f"{path.name} was not written as asked: {found[0]} of {num_frames} frames at "
            f"{video.get('avg_frame_rate')} fps, {found[1]} samples, from {video.get('start_pts')} and "
            f"{sound.get('start_pts')}"
        )


def count_frames(path: Path) -> int:
    """How many frames the index of a clip (mp4) lists; 0 where it has no picture."""
    entries = ["-select_streams", "V:0", "-show_entries", "stream=nb_frames", "-of", "csv=p=0", *input_options(path)]
    answer = run_tool(["ffprobe", "-v", "error", *entries]).strip().strip(",")
    return int(answer) if answer.isdigit() else 0


def _num_samples(sound: Mapping[str, Any]) -> int:
    length = int(sound.get("duration_ts", 0)) * Fraction(sound.get("time_base", "1/1")) * SAMPLE_RATE
    return int(length) if length.denominator == 1 else -1
