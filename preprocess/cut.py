"""Frame-exact pieces of a clip at 25 fps: the very frames and samples asked for, whatever the key frames are."""

from pathlib import Path

from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg import file_url, input_options
from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.reader import likely_matrix
from latentsync.media.written_file import write_file
from preprocess.encoding import (
    FPS,
    ONE_THREAD,
    QUIET,
    SAMPLES_PER_FRAME,
    check_clip,
    file_options,
    sound_options,
    to_bt709,
    video_options,
)

_SEEK_EARLY_S = 2
"""Seeking this much early finds the key frame before, and frames that lean on what precedes it have passed."""


class ClipCutter:
    """Cuts pieces out of one clip as step 2 writes it: frame i at i / 25 s exactly, 640 samples of sound a frame.

    Each cut seeks, so pieces of a long clip cost what they are long, and memory holds a few frames.
    """

    def __init__(self, source: Path, crf: int) -> None:
        """crf: of the pieces' H.264, 0 (lossless) to 51. Raises InputError where the clip cannot be read."""
        self._info: VideoInfo = probe_video(source)
        self._crf = crf

    def cut(self, first_frame: int, num_frames: int, target: Path, first_sound_frame: int | None = None) -> None:
        """Write frames [first_frame, first_frame + num_frames) and their sound; the same bits every time.

        Args:
            first_frame, num_frames: of the picture.
            target: the piece.
            first_sound_frame: the frame whose sound begins the piece, at most a second away; None is `first_frame`.

        Raises:
            ToolError: ffmpeg failed, or the clip ends before the piece does.
        """
        stop = first_frame + num_frames
        first_sample = SAMPLES_PER_FRAME * (first_frame if first_sound_frame is None else first_sound_frame)
        video = [f"settb=1/{FPS}", f"trim=start_pts={first_frame}:end_pts={stop}", "setpts=PTS-STARTPTS"]
        samples = f"start_pts={first_sample}:end_pts={first_sample + num_frames * SAMPLES_PER_FRAME}"
        sound = [f"asettb=1/{SAMPLE_RATE}", f"atrim={samples}", "asetpts=PTS-STARTPTS"]
        matrix = likely_matrix(self._info) if self._info.color_space == "unknown" else self._info.color_space
        seek_s = max(0.0, first_frame / FPS - _SEEK_EARLY_S)
        seek = ["-noaccurate_seek", "-ss", f"{seek_s:.3f}"] if seek_s > 0 else []
        write_file(
            [
                *(*QUIET, *ONE_THREAD, "-filter_threads", "1", "-copyts", *seek),
                *input_options(self._info.path),
                *("-map", "0:V:0", "-vf", ",".join([*video, to_bt709(matrix)]), *video_options(self._crf)),
                *("-map", "0:a:0", "-af", ",".join(sound), *sound_options(), *file_options(), file_url(target)),
            ]
        )
        check_clip(target, num_frames)
