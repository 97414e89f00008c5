"""SyncNet's mel against its golden values."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.audio.mel import mel_window, syncnet_mel


def test_golden(golden_dir: Path) -> None:
    time_s = np.arange(32000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 220 * time_s) * np.exp(-time_s) + 0.2 * np.sin(2 * np.pi * 1500 * time_s)
    mel = syncnet_mel(tone.astype(np.float32))
    archive = np.load(golden_dir / "mel_tone.npz")
    (golden,) = (archive[name] for name in archive)
    assert (mel.shape, mel.dtype) == ((80, 161), torch.float32)
    assert np.linalg.norm(mel.numpy() - golden) < 1e-5 * np.linalg.norm(golden)


def test_silence_is_the_floor() -> None:
    assert torch.equal(syncnet_mel(np.zeros(1600)), torch.full((80, 9), -4.0))


def test_tensor_and_array_agree() -> None:
    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    assert torch.equal(syncnet_mel(samples), syncnet_mel(torch.from_numpy(samples)))


def test_window() -> None:
    mel = torch.arange(161).float().expand(80, -1)
    assert mel_window(mel, 10)[0].tolist() == list(range(32, 84))
    assert mel_window(mel, 3, num_columns=80)[0, 0] == 9
    with pytest.raises(ValueError, match="exceed"):
        mel_window(mel, 35)
    with pytest.raises(ValueError, match="exceed"):
        mel_window(mel, -1)
