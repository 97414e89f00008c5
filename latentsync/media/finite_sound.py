"""Sound whose samples are not numbers, which encoders refuse at its end: told at the beginning."""

import subprocess

import numpy as np

from latentsync.errors import InputError
from latentsync.media.ffmpeg import StallGuard, input_options, tool_command
from latentsync.media.probe import AudioInfo

_FLOAT_CODECS = ("pcm_f", "wavpack")
"""How ffmpeg's names of sound stored as floating point begin; other codecs cannot hold NaN."""

_BLOCK_BYTES = 1 << 22


def check_finite_sound(audio: AudioInfo) -> None:
    """Reads sound that is stored as floating point, once, in little memory.

    Raises:
        InputError: a sample is NaN or infinite.
    """
    if not audio.codec.startswith(_FLOAT_CODECS):
        return
    command = tool_command(["ffmpeg", "-nostdin", "-v", "quiet", *input_options(audio.path), "-map", "0:a:0"])
    command += ["-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]
    num_samples = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:  # no shell
        assert process.stdout is not None
        guard = StallGuard(process)
        try:
            while True:
                with guard.waiting():
                    block = process.stdout.read(_BLOCK_BYTES)
                finite = np.isfinite(np.frombuffer(block[: len(block) // 4 * 4], dtype="<f4"))
                if not finite.all():
                    at = (num_samples + int(np.argmin(finite))) / max(1, audio.channels * audio.sample_rate)
                    raise InputError(f"{audio.path} holds NaN or infinity at {at:.3f} s: export the sound again")
                if not block:
                    return
                num_samples += len(finite)
        finally:
            guard.end()
            process.kill()
