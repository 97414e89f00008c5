"""A talking clip as a video file with sound: full frames to look at, or aligned crops to train on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.drawing import Bytes
from demo.synthetic.motion import FPS
from demo.synthetic.speech import write_wav
from latentsync.errors import ToolError
from latentsync.media.ffmpeg import is_cut_short
from latentsync.storage.atomic import atomic_write
from latentsync.storage.temporary_files import temporary_folder

_CROP_CRF = 6
_CROP_KEY_FRAMES = 25
_TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def write_film(clip: TalkingClip, path: Path, crf: int = 18) -> None:
    """Write the clip's full frames and speech as H.264 and AAC; the file appears whole. Raises ToolError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [
        "-c:v", "libx264", "-crf", str(crf), "-preset", "slow", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k",
    ]  # fmt: skip
    with temporary_folder(path.parent, "name another --out") as folder:
        sound = folder / "speech.wav"
        write_wav(sound, clip.samples)
        _encode(clip.frames(), clip.frame_size, sound, options, path)


def write_training_film(crops: np.ndarray, sound: Path, path: Path) -> None:
    """Write crops (f, R, R, 3) uint8 and a sound file as a training clip; the file appears whole. Raises ToolError.

    H.264 4:4:4 near lossless: at 128 px 4:2:0 stays at 36 to 40 dB whatever its size, 4:4:4 gives 44 to 46 dB in 340 kB
    for 6 s. A key frame every second keeps reading a window cheap. The sound is lossless (ALAC), so that it is the
    speech to the sample.
    """
    options = [
        "-vf", _TO_BT709, "-c:v", "libx264", "-crf", str(_CROP_CRF), "-g", str(_CROP_KEY_FRAMES), "-threads", "1",
        "-pix_fmt", "yuv444p", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-color_range", "tv", "-c:a", "alac",
    ]  # fmt: skip
    _encode(crops, crops.shape[1], sound, options, path)


def _encode(frames: Iterable[Bytes], size: int, sound: Path, options: list[str], path: Path) -> None:
    """Encode square RGB frames with a sound file; `path` appears whole. Raises ToolError with ffmpeg's last words."""
    tool = shutil.which("ffmpeg")
    if tool is None:
        raise ToolError(
            "ffmpeg is needed to write a video and was not found: install it, for example: apt-get install ffmpeg"
        )
    with atomic_write(path) as beside:
        command = [
            tool, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size}x{size}", "-r", str(FPS),
            "-i", "pipe:0", "-i", f"file:{sound}", *options, "-movflags", "+faststart", f"file:{beside}",
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
            if encoder.stdin is None or encoder.stderr is None:
                raise ToolError("ffmpeg could not be started with pipes")
            with contextlib.suppress(BrokenPipeError):
                for frame in frames:
                    encoder.stdin.write(np.ascontiguousarray(frame).data)
                encoder.stdin.close()
            message = encoder.stderr.read().decode(errors="replace").strip()
        if encoder.returncode != 0 or is_cut_short(message):
            raise ToolError(f"ffmpeg could not write {path}: {message.splitlines()[-1] if message else 'no message'}")
