from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.errors import CheckpointError
from preprocess.step import Clip, Done, Output, ProcessClip, Rejected
from preprocess.steps import step_8_quality
from preprocess.steps.step_8_quality import QualityConfig, QualityStep, read_three_frames
from tests.unit.data.clips import ffmpeg, frame_number, make_clip

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Stand-in whose score is the brightness of an image in percent."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, pictures: Tensor) -> Tensor:
        return 100 * (0.225 * pictures.mean(dim=(1, 2, 3)) + 0.449)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ProcessClip:
    monkeypatch.setattr(step_8_quality, "load_hyperiqa", lambda path, device: Brightness())
    (tmp_path / "koniq.pkl").write_bytes(b"weights")
    return QualityStep(QualityConfig(checkpoint=str(tmp_path / "koniq.pkl"))).load(CPU)


def grey_clip(path: Path, levels: list[int]) -> Clip:
    """Write a clip whose frames have these levels, 0 to 255."""
    raw = b"".join(np.full((64, 64, 3), level, np.uint8).tobytes() for level in levels)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "64x64", "-framerate", "25", "-i", "pipe:0"]
    ffmpeg(*source, "-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p", str(path), data=raw)
    return Clip("0", "0", "clip", path)


def test_first_middle_and_last_frame_decide(tmp_path: Path, process: ProcessClip):
    clip = grey_clip(tmp_path / "clip.mp4", [204] * 4 + [102] + [0] * 4 + [51])
    result = process(clip, tmp_path)
    assert isinstance(result, Rejected)
    assert result.reason == "low_quality"
    assert result.reason in QualityStep.reasons
    assert result.facts["quality"] == pytest.approx((80 + 0 + 20) / 3, abs=1)
    clip = grey_clip(tmp_path / "clip.mp4", [204] * 4 + [0] + [102] * 4 + [51])
    result = process(clip, tmp_path)
    assert isinstance(result, Done)
    assert result.outputs == (Output(facts=result.outputs[0].facts),)
    assert result.outputs[0].facts["quality"] == pytest.approx((80 + 40 + 20) / 3, abs=1)


@pytest.mark.parametrize("num_frames", [1, 2, 25])
def test_exactly_these_frames_are_read(tmp_path: Path, num_frames: int):
    frames = read_three_frames(make_clip(tmp_path / "clip.mp4", num_frames, sound_s=0))
    assert [frame_number(frame) for frame in frames] == [0, num_frames // 2, num_frames - 1]


def test_missing_weights_stop_the_run(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is missing"):
        QualityStep(QualityConfig(checkpoint=str(tmp_path / "none.pkl"))).weights()


def test_the_published_file_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr(step_8_quality, "locate", asked.append)
    QualityStep().weights()
    assert asked == ["checkpoints/auxiliary/koniq_pretrained.pkl"]
    assert QualityStep().config.min_quality == 40
