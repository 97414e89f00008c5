"""The sound the models hear: any file's first sound stream as 16 kHz mono, decoded once, kept on disk."""

import logging
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.media.ffmpeg import NO_SPACE, finished_process, input_options, last_words
from latentsync.media.probe import probe_audio

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Samples per second, mono."""

_BYTES_PER_SAMPLE = 2
_FULL_SCALE = 32768.0
_READING_OR_WRITING = "Input/output error"
_OF_WRITING = ("av_interleaved_write_frame", "Error writing trailer", "Error closing file")
"""What ffmpeg says where its output, not its input, is at fault."""


class AudioSamples:
    """Decoded sound in an unnamed temporary file of 16-bit samples (2 MB a minute); any slice of it on demand.

    A context manager; the disk is given back at its end or when the object goes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """file: raw little-endian 16-bit mono samples at 16 kHz."""
        self._file = file
        self._num_samples = os.fstat(file.fileno()).st_size // _BYTES_PER_SAMPLE

    @classmethod
    def decode(cls, path: str | Path, folder: Path | None = None) -> "AudioSamples":
        """Decode a sound file, or a video's sound, into `folder` (the system's temporary one by default).

        Time stamps are honoured as players do: sound that begins late begins with silence, gaps are silence. The
        resampler is ffmpeg's own, as in whisper's `load_audio`.
        Raises InputError where there is no sound to decode, or the disk is full.
        """
        path = Path(path)
        probe_audio(path)
        try:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (it lives as long as the object)
        except OSError as error:
            raise InputError(f"the temporary folder {folder} cannot be written ({error.strerror})") from error
        try:
            return cls._decode_into(path, file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _decode_into(cls, path: Path, file: IO[bytes]) -> "AudioSamples":
        process = finished_process(
            [
                *("ffmpeg", "-nostdin", "-v", "error", *input_options(path), "-map", "0:a:0"),
                *("-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", str(SAMPLE_RATE)),
                *("-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"),
            ],
            file,
        )
        complaint = process.stderr.decode(errors="replace")
        if NO_SPACE in complaint:
            raise InputError("the temporary folder is full: free some space or name another with --temp_dir")
        if _READING_OR_WRITING in complaint and any(words in complaint for words in _OF_WRITING):
            raise InputError(
                f"the temporary folder cannot be written ({last_words(complaint.splitlines())}): name another with "
                "--temp_dir"
            )
        samples = cls(file)
        if samples.num_samples == 0:
            raise InputError(f"{path} has no sound that can be decoded: give another file with speech")
        if process.returncode != 0 or complaint:
            logger.warning(
                "%s is damaged: %.2f s of sound were read (ffmpeg: %s)",
                *(path, samples.duration_s, last_words(complaint.splitlines())),
            )
        return samples

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self._num_samples

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self._num_samples / SAMPLE_RATE

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples [start, stop) as (stop - start,) float32 in [-1, 1); zeros outside [0, num_samples)."""
        result = np.zeros(max(stop - start, 0), dtype=np.float32)
        low, high = max(start, 0), min(stop, self._num_samples)
        if low < high:
            self._file.seek(low * _BYTES_PER_SAMPLE)
            stored = np.frombuffer(self._file.read((high - low) * _BYTES_PER_SAMPLE), dtype="<i2")
            result[low - start : high - start] = stored / np.float32(_FULL_SCALE)
        return result

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()

    def __enter__(self) -> "AudioSamples":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
