"""Small raw files: every frame shows its number above the colour of its shot, the audio is noise."""

import json
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.media.ffmpeg_tools import file_url
from latentsync.media.reader import VideoReader
from preprocess.step import Clip, Done, Output, StepResult

NUM_BITS = 8
BLOCK = 16
STRIP = 8
"""Height in pixels of the strip with the number; too low for a change of the number to be a cut."""
WIDTH, HEIGHT = NUM_BITS * BLOCK, 64
SHOT_COLOURS = ((200, 40, 40), (30, 60, 210), (60, 190, 70), (230, 220, 60))
LOSSLESS_SOUND = ("-c:a", "alac")


def ffmpeg(*args: str, data: bytes | None = None) -> None:
    """Run ffmpeg; fail the test with its error message."""
    command = ["ffmpeg", "-v", "error", "-y", *args]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def numbered_frame(number: int, shot: int = 0) -> NDArray[np.uint8]:
    """Return a frame of one colour under a strip with the number in Gray code (one block changes at a time)."""
    frame = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[:] = SHOT_COLOURS[shot]
    code = number ^ number >> 1
    bits = [code >> bit & 1 for bit in range(NUM_BITS)]
    frame[:STRIP] = np.repeat(np.array(bits, dtype=np.uint8) * 255, BLOCK)[None, :, None]
    return frame


def frame_number(frame: NDArray[np.uint8]) -> int:
    """Return the number in a frame."""
    centres = frame[STRIP // 2, BLOCK // 2 :: BLOCK].mean(axis=-1)
    number = code = sum(int(value > 128) << bit for bit, value in enumerate(centres))
    while code := code >> 1:
        number ^= code
    return number


def noise(num_samples: int, seed: int = 0) -> NDArray[np.int16]:
    """Return noise, in which no two parts are equal."""
    return np.random.default_rng(seed).integers(-8000, 8000, num_samples, dtype=np.int16)


def make_raw(
    path: Path,
    num_frames: int = 50,
    fps: str = "25",
    *,
    samples: NDArray[np.int16] | None = None,
    shots: Sequence[int] = (),
    video: Sequence[str] = (),
    sound: Sequence[str] = LOSSLESS_SOUND,
    before_video: Sequence[str] = (),
    before_sound: Sequence[str] = (),
) -> Path:
    """Write numbered frames and 16 kHz noise of the same length (or `samples`).

    Args:
        path: file to write.
        num_frames, fps: length and frame rate of the video.
        samples: audio samples.
        shots: frames at which the colour changes.
        video, sound: encoder options of the streams.
        before_video, before_sound: options of the inputs, such as `-itsoffset`.
    """
    if samples is None:
        samples = noise(round(num_frames / Fraction(fps) * 16000))
    raw = b"".join(numbered_frame(k, sum(k >= cut for cut in shots)).tobytes() for k in range(num_frames))
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", fps]
    audio = path.with_name(f"{path.name}.s16")
    audio.write_bytes(samples.tobytes())
    ffmpeg(
        *(*before_video, *size, "-i", "pipe:0"),
        *(*before_sound, "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", file_url(audio), "-map", "0:v"),
        *("-map", "1:a", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-crf", "10", "-pix_fmt", "yuv420p"),
        *("-threads", "1", *video, *sound, file_url(path)),
        data=raw,
    )
    audio.unlink()
    return path


def raw_clip(path: Path) -> Clip:
    """Return the clip of a raw file, as the runner creates it."""
    return Clip(key="0" * 32, source="0" * 32, name=path.stem, path=path)


def only_output(result: StepResult) -> Output:
    """Return the only output of an accepted clip."""
    assert isinstance(result, Done), result
    assert len(result.outputs) == 1
    return result.outputs[0]


def file_of(output: Output) -> Path:
    """Return the file that a step wrote."""
    assert output.file is not None
    return output.file


def read_all(path: Path) -> list[NDArray[np.uint8]]:
    """Return all frames as RGB."""
    with VideoReader(path, fps=None) as frames:
        return list(frames)


def numbers(path: Path) -> list[int]:
    """Return the numbers in the frames."""
    return [frame_number(frame) for frame in read_all(path)]


def samples_of(path: Path) -> NDArray[np.int16]:
    """Return the audio as 16-bit samples."""
    command = ["ffmpeg", "-v", "error", "-i", file_url(path), "-map", "0:a", "-f", "s16le", "-ar", "16000", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, dtype="<i2")


def frame_times(path: Path) -> list[Fraction]:
    """Return the time stamps of the video packets in ascending order."""
    entries = ["-select_streams", "v:0", "-show_entries", "stream=time_base:packet=pts", "-of", "json", file_url(path)]
    done = subprocess.run(["ffprobe", "-v", "error", *entries], capture_output=True, check=True)
    content = json.loads(done.stdout)
    return sorted(packet["pts"] * Fraction(content["streams"][0]["time_base"]) for packet in content["packets"])


def assert_is_a_clip(path: Path, num_frames: int) -> None:
    """Assert that frames are exactly at i / 25 s, with 640 samples each."""
    assert frame_times(path) == [Fraction(k, 25) for k in range(num_frames)]
    assert len(samples_of(path)) == 640 * num_frames
