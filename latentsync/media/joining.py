"""Join videos that were encoded alike into one, without a second encode."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg

from latentsync.errors import InputError, ToolError
from latentsync.media.ffmpeg_tools import NO_SPACE, ffmpeg_command, file_url, media_input, run_tool
from latentsync.media.probe import probe_audio, video_packets
from latentsync.media.writer import file_options, sound_track

_PART_FORMATS = ("concat", "mov")
_LIST_NAME = "parts.ffconcat"


@dataclass(frozen=True)
class VideoPart:
    """A part of a video.

    Attributes:
        path: .mp4 file of `VideoWriter` with a plain name; those of all parts are in one folder.
        num_frames: its number of frames.
    """

    path: Path
    num_frames: int


def join_videos(
    parts: Sequence[VideoPart],
    path: Path,
    fps: Fraction,
    audio_path: Path | None = None,
    audio_duration_s: float | None = None,
    *,
    pad_audio: bool = False,
    comment: str | None = None,
) -> None:
    """Write the packets of videos one after the other into one file, with the audio of another.

    Args:
        parts: the videos, of equal size, rate and settings.
        path: the file to write; its suffix names the container.
        fps: frames per second.
        audio_path, audio_duration_s, pad_audio, comment: as for `VideoWriter`.

    Raises:
        InputError: the disk is full.
        ToolError: ffmpeg failed, or another number of frames was written.
    """
    playlist = parts[0].path.with_name(_LIST_NAME)
    playlist.write_text(_playlist(parts, fps), encoding="utf-8")
    streams, options = [media_input(playlist, _PART_FORMATS, f="concat")["v:0"]], file_options(path.suffix, comment)
    if audio_path is not None:
        sound, sound_options = sound_track(probe_audio(audio_path), path.suffix, audio_duration_s, pad_audio)
        streams.append(sound)
        options |= sound_options
    try:
        run_tool(ffmpeg_command(ffmpeg.output(*streams, file_url(path), vcodec="copy", **options), options=["-y"]))
    except ToolError as error:
        if NO_SPACE in str(error):
            raise InputError("the disk is full: free some space or name another output") from error
        raise
    num_frames = sum(part.num_frames for part in parts)
    if (written := sum(1 for _ in video_packets(path))) != num_frames:
        raise ToolError(f"the joined video has {written} frames instead of {num_frames}")


def _playlist(parts: Sequence[VideoPart], fps: Fraction) -> str:
    """Return the list for the concat demuxer, which opens nothing outside the folder if names are relative.

    A part is placed where those before it end. Without these durations they end in whole milliseconds, as in the header
    of an .mp4.
    """
    lines, num_frames, end_us = ["ffconcat version 1.0"], 0, 0
    for part in parts:
        num_frames += part.num_frames
        start_us, end_us = end_us, round(num_frames / fps * 1_000_000)
        lines += [f"file {part.path.name}", f"duration {(end_us - start_us) / 1_000_000:.6f}"]
    return "\n".join(lines) + "\n"
