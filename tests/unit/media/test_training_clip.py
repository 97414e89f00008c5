"""Training clips: near-lossless crops with exact speech."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.synthetic.speech import read_wav, write_wav
from latentsync.data.video_window import read_frames
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.training_clip import write_training_clip


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_training_clip_has_the_crops_nearly_and_the_speech_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    crops = np.stack([np.asarray(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_CUBIC)) for frame in coarse])
    samples = (0.3 * rng.standard_normal(12800)).clip(-1, 1).astype(np.float32)
    write_wav(tmp_path / "speech.wav", samples)
    write_training_clip(crops, crops.shape[1], tmp_path / "speech.wav", tmp_path / "clip.mp4")
    frames = read_frames(tmp_path / "clip.mp4", range(20), 64)
    assert 10 * np.log10(255**2 / np.square(frames.astype(float) - crops).mean()) > 38
    with AudioSamples.decode(tmp_path / "clip.mp4") as audio:
        np.testing.assert_array_equal(audio.read(0, audio.num_samples), read_wav(tmp_path / "speech.wav"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]
