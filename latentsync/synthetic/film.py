"""A talking clip as a video file with sound."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from latentsync.errors import ToolError
from latentsync.synthetic.clip import TalkingClip
from latentsync.synthetic.motion import FPS
from latentsync.synthetic.speech import write_wav


def write_film(clip: TalkingClip, path: Path, crf: int = 18) -> None:
    """Write the clip's full frames and speech as H.264 and AAC; the file appears whole. Raises ToolError."""
    tool = shutil.which("ffmpeg")
    if tool is None:
        raise ToolError(
            "ffmpeg is needed to write a video and was not found: install it, for example: apt-get install ffmpeg"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".film_") as folder:
        sound, partial = Path(folder) / "speech.wav", Path(folder) / f"film{path.suffix or '.mp4'}"
        write_wav(sound, clip.samples)
        size = f"{clip.frame_size}x{clip.frame_size}"
        command = [
            tool, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS),
            "-i", "pipe:0", "-i", str(sound), "-c:v", "libx264", "-crf", str(crf), "-preset", "slow",
            "-pix_fmt", "yuv420p",
            "-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart", str(partial),
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
            if encoder.stdin is None or encoder.stderr is None:
                raise ToolError("ffmpeg could not be started with pipes")
            with contextlib.suppress(BrokenPipeError):
                for frame in clip.frames():
                    encoder.stdin.write(frame.tobytes())
                encoder.stdin.close()
            message = encoder.stderr.read().decode(errors="replace").strip()
        if encoder.returncode != 0:
            raise ToolError(f"ffmpeg could not write {path}: {message.splitlines()[-1] if message else 'no message'}")
        os.replace(partial, path)
