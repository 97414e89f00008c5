"""Small training clips whose frames show their own number."""

import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NUM_BITS = 8
SIDE = 64
NUM_FRAMES = 60


def ffmpeg(*args: str, data: bytes | None = None) -> None:
    """Run ffmpeg; a failure fails the test with ffmpeg's message."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *args], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def numbered_frame(number: int, side: int = SIDE) -> np.ndarray:
    """Return a frame that shows `number` in binary as black and white stripes above a lower half of one colour."""
    bits = np.array([number >> bit & 1 for bit in range(NUM_BITS)], dtype=np.uint8)
    frame = np.repeat(np.repeat(bits * 255, side // NUM_BITS)[None, :, None], side, axis=0).repeat(3, axis=2)
    frame[side // 2 :] = (number * 4, 255 - number * 4, 60)
    return frame


def frame_number(frame: np.ndarray) -> int:
    """Return the number in a frame (h, w, 3)."""
    step = frame.shape[1] // NUM_BITS
    stripes = frame[frame.shape[0] // 4, step // 2 :: step].mean(axis=-1)
    return sum(int(value > 128) << bit for bit, value in enumerate(stripes))


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Return bursts of noise (n,) float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 16000)) / 16000
    return (0.2 * rng.standard_normal(len(time_s)) * (1 + np.sin(9 * time_s + seed)) / 2).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray) -> None:
    """16-bit mono at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def make_clip(
    path: Path,
    num_frames: int = NUM_FRAMES,
    fps: str = "25",
    sound_s: float | None = None,
    side: int = SIDE,
    seed: int = 0,
    options: Sequence[str] = (),
) -> Path:
    """Write a clip of numbered frames with B-frames and lossless speech (by default as long as the video; 0: none)."""
    raw = b"".join(numbered_frame(number, side).tobytes() for number in range(num_frames))
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{side}x{side}", "-framerate", fps]
    encode = ["-c:v", "libx264", "-crf", "8", "-bf", "3", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "alac", *options]
    seconds = num_frames / 25 if sound_s is None else sound_s
    wav = path.with_suffix(".wav")
    if seconds > 0:
        write_wav(wav, speech(seconds, seed))
    sound = ["-i", str(wav)] if seconds > 0 else []
    ffmpeg(*source, "-i", "pipe:0", *sound, *encode, str(path), data=raw)
    wav.unlink(missing_ok=True)
    return path
