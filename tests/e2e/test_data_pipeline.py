"""The data pipeline as a user runs it: from raw videos with planted faults to clips that both models train on."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from demo.synthetic.raw import EXPECTED, RawConfig, make_raw_videos
from preprocess.outcomes import read_outcomes

SECONDS = 2.6
"""Short, because faces are detected in every frame; the minimum length of a segment is lowered accordingly."""
SETTINGS = ("segments.min_s=2.2", "validation_share=0.3", "faces.detector=mtcnn", "resolution=96")

TRAININGS = {
    "train_syncnet.sh": ("syncnet.yaml", "validation.num_clips=1", "training.batch_size=2"),
    "train_unet.sh": (
        *("unet_stage1.yaml", "data.cache_latents=false", "training.batch_size=1"),
        *("validation.num_videos=0", "validation.num_windows=2"),
    ),
}

pytestmark = [pytest.mark.needs_espeak, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, espeak: str) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "it's here"
    make_raw_videos(folder / "raw videos", RawConfig(num_good=2, size=256, seconds=SECONDS, resolution=96))
    return folder


@pytest.fixture(scope="module")
def output(folder: Path, repository: Path) -> Path:
    before = {path: path.read_bytes() for path in (folder / "raw videos").iterdir()}
    done = run_pipeline(folder, repository)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in (folder / "raw videos").iterdir()} == before
    return folder / "out"


def run_pipeline(folder: Path, repository: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(repository / "data_processing_pipeline.sh"), "--config", str(repository / "configs/preprocess/demo.yaml"),
        "--input_dir", "raw videos", "--output_dir", "out", "--num_workers", "2", *more, *SETTINGS,
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_fault_ends_where_and_why_it_should(folder: Path, output: Path):
    files = json.loads((folder / "raw videos" / EXPECTED).read_text())["files"]
    expected = {
        name: Counter({(e["step"], e["reason"]): e["num_clips"] for e in f["ends"]}) for name, f in files.items()
    }
    expected["blur.mp4"] = Counter({(8, "kept"): 1})  # the configuration skips step 8, which has no demo weights
    assert {path.name: ends for path, ends in read_outcomes(output).items()} == expected


def test_the_same_line_again_does_nothing(folder: Path, output: Path, repository: Path):
    tree = {path: path.stat().st_mtime_ns for path in output.rglob("*.mp4")}
    assert run_pipeline(folder, repository).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.mp4")} == tree


@pytest.mark.parametrize("script", [pytest.param("train_syncnet.sh", marks=pytest.mark.long), "train_unet.sh"])
def test_both_models_train_from_the_result(output: Path, repository: Path, script: str):
    config, *settings = TRAININGS[script]
    lists = [f"data.{part}_clips={output / 'high_visual_quality' / part}.txt" for part in ("train", "validation")]
    command = [
        str(repository / script), "--config", str(repository / "configs/demo" / config), *map(quoted, lists),
        "training.max_steps=1", "training.num_workers=0", "training.log_every=1", "training.device=cpu", *settings,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=output.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "finished: 1 steps" in done.stderr


def quoted(override: str) -> str:
    """Quote the value of an override, for paths with an apostrophe."""
    key, value = override.split("=", 1)
    return f'{key}="{value}"'


@pytest.mark.long
def test_the_report_is_written(output: Path):
    command = [sys.executable, "-m", "preprocess.report", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "offset_too_large" in (output / "report" / "report.html").read_text()
