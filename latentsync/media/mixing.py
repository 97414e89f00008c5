"""Mix the speech of several people into one sound."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from latentsync.media.ffmpeg_tools import Stream, media_input
from latentsync.media.probe import AudioInfo, probe_audio
from latentsync.media.transcode import combine_streams, write_media

_BLOCK_SAMPLES = 1 << 20


def mix_audio(paths: Sequence[Path], folder: Path) -> Path:
    """Return a WAV file (32-bit float) with the sum of audio files, as long as the longest.

    All start together. The sum keeps the highest sample rate, and is stereo if a file has more than one channel. Where
    it would exceed full scale, the whole of it is made quieter.

    Args:
        paths: audio files, or videos with audio.
        folder: folder for the result, which may hold a file of the same size in between.

    Raises:
        InputError: a file has no audio.
        ToolError: ffmpeg failed.
    """
    infos = [probe_audio(path) for path in paths]
    rate, layout = (
        max(info.sample_rate for info in infos),
        "stereo" if max(info.channels for info in infos) > 1 else "mono",
    )

    def stream(info: AudioInfo) -> Stream:
        samples = media_input(info.path)["a:0"].filter("aresample", rate, **{"async": 1, "first_pts": 0})
        if info.channels == 1 and layout == "stereo":
            # ffmpeg's own conversion would lower the level by 3 dB
            samples = samples.filter("channelmap", map="0|0", channel_layout="stereo")
        return samples.filter("aformat", sample_fmts="fltp", channel_layouts=layout)

    mixed = combine_streams([stream(info) for info in infos], "amix", inputs=len(infos), normalize=0)
    target = folder / "mix.wav"
    write_media([mixed], target, acodec="pcm_f32le", rf64="auto")
    if (peak := _peak(target)) <= 1:
        return target
    quieter = folder / "mix_in_range.wav"
    samples = media_input(target)["a:0"].filter("volume", f"{1 / peak:.9f}", precision="float")
    write_media([samples], quieter, acodec="pcm_f32le", rf64="auto")
    target.unlink()
    return quieter


def _peak(path: Path) -> float:
    """Return the largest magnitude of a WAV file's samples, read in blocks."""
    _, samples = wavfile.read(path, mmap=True)
    starts = range(0, len(samples), _BLOCK_SAMPLES)
    return max((float(np.abs(samples[start : start + _BLOCK_SAMPLES]).max()) for start in starts), default=0.0)
