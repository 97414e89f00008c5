"""The Python code of docs/api.md, run block after block as it stands there, with the demo weights."""

import re
from pathlib import Path

import numpy as np
import pytest

import latentsync
from latentsync.media.ffmpeg_tools import run_tool
from latentsync.media.probe import probe_video
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT

pytestmark = pytest.mark.slow
NUM_FRAMES = 15


def test_the_blocks_of_the_api_document_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    cut("assets/demo1_video.mp4", "0.7", tmp_path / "talk.mp4")
    cut("assets/demo1_audio.wav", str(NUM_FRAMES / 25), tmp_path / "speech.wav")
    load, loaded = latentsync.load_pipeline, []

    def load_demo(**given: str) -> object:
        demo = {"config": REPOSITORY_ROOT / DEMO_UNET_CONFIG, "unet": CHECKPOINTS / DEMO_UNET}
        loaded.append(load(**demo, detector="mtcnn", device="cpu", **given))
        return loaded[-1]

    monkeypatch.setattr(latentsync, "load_pipeline", load_demo, raising=False)
    namespace: dict = {}
    text = (REPOSITORY_ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/api.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert len(loaded) == 1
    assert [probe_video(Path(f"{name}.mp4")).num_frames_estimate for name in ("first", "left")] == [NUM_FRAMES] * 2
    assert Path("first.mp4").read_bytes() == Path("second.mp4").read_bytes() == Path("watched.mp4").read_bytes()
    assert f"first.mp4: {NUM_FRAMES} of {NUM_FRAMES} frames" in printed
    assert "lips: 100%" in printed
    assert "missing.wav does not exist" in printed
    assert namespace["result"].shape == (NUM_FRAMES, 512, 512, 3)
    assert namespace["result"].dtype == np.uint8


def cut(source: str, seconds: str, out: Path) -> None:
    run_tool(["ffmpeg", "-v", "error", "-i", str(REPOSITORY_ROOT / source), "-t", seconds, str(out)])
