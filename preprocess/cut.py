"""Frame-exact pieces of a clip at 25 fps: the very frames and samples asked for, whatever the key frames are."""

from pathlib import Path

from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.transcode import cut_clip
from preprocess.encoding import FPS, SAMPLES_PER_FRAME, check_clip


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
        first_sample = SAMPLES_PER_FRAME * (first_frame if first_sound_frame is None else first_sound_frame)
        frames = range(first_frame, first_frame + num_frames)
        samples = range(first_sample, first_sample + num_frames * SAMPLES_PER_FRAME)
        cut_clip(self._info, target, frames, samples, fps=FPS, crf=self._crf)
        check_clip(target, num_frames)
