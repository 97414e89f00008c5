"""Small generated clips whose frames show their own number."""

import subprocess
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.media.ffmpeg_tools import file_url

NUM_BITS = 8
BLOCK = 16
WIDTH, HEIGHT = NUM_BITS * BLOCK, 32
CLICK_S = 0.5

MakeClip = Callable[..., Path]


def ffmpeg(*args: str, data: bytes | None = None) -> None:
    """Run ffmpeg; fail the test with its messages."""
    command = ["ffmpeg", "-v", "error", "-y", *args]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def numbered_frame(number: int) -> NDArray[np.uint8]:
    """Return a frame that shows `number` in binary (black and white blocks) above a coloured lower half."""
    bits = [number >> bit & 1 for bit in range(NUM_BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 255, BLOCK)
    frame = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[:16] = row[None, :, None]
    frame[16:] = (number * 37 % 256, number * 11 % 256, 128)
    return frame


def frame_number(frame: NDArray[np.uint8]) -> int:
    """Read the number in a frame."""
    centres = frame[8, BLOCK // 2 :: BLOCK].mean(axis=-1)
    return sum(int(value > 128) << bit for bit, value in enumerate(centres))


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """`make_clip(name, num_frames=60, fps=30, options=[...])`: a clip of numbered frames."""

    def make(name: str, num_frames: int = 60, fps: str = "30", options: Sequence[str] = ()) -> Path:
        raw = b"".join(numbered_frame(number).tobytes() for number in range(num_frames))
        size = f"{WIDTH}x{HEIGHT}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", fps, "-i", "pipe:0"]
        encode = ["-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p", *options]
        ffmpeg(*source, *encode, file_url(tmp_path / name), data=raw)
        return tmp_path / name

    return make


@pytest.fixture
def click_wav(tmp_path: Path) -> Path:
    """Two seconds of stereo at 44.1 kHz, 16 bit: silence with a 5 ms burst of 3 kHz at CLICK_S."""
    time_s = np.arange(2 * 44100) / 44100
    burst = np.sin(2 * np.pi * 3000 * time_s) * (time_s >= CLICK_S) * (time_s < CLICK_S + 0.005)
    samples = np.repeat((burst * 20000).astype("<i2"), 2)
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(samples.tobytes())
    return path


def click_time_s(samples: NDArray[np.float32]) -> float:
    """Return the time of the click (its centre of energy) in seconds."""
    energy = samples.astype(np.float64) ** 2
    return float((energy * np.arange(len(energy))).sum() / energy.sum() / 16000)
