"""Every documented training line passes its --dry_run, with stand-ins for the published weights."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.synthetic.clip_set import CLIP_FILES
from latentsync.config import load_config
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.run_folder import claim_run
from latentsync.weights import REPOSITORY_ROOT
from tests.documented_commands import documented_commands, name_of
from tests.stand_in_weights import write_published_stand_ins, write_unet

TRAININGS = ("scripts.train_unet", "scripts.train_syncnet", "demo.training")
LINES = [
    c for c in documented_commands(REPOSITORY_ROOT) if c.program in TRAININGS and c.arguments not in ((), ("--help",))
]
EFFICIENT = ("scripts.train_unet", ("--config", "configs/unet/stage2_efficient.yaml", "data.train_clips=CLIPS"))
WRONG = (
    "scripts.train_unet",
    (
        "--config", "configs/unet/stage2.yaml", "data.train_clips=CLIPS", "initial=nowhere.pt",
        "audio.whisper=checkpoints/whisper/small.pt",
        "losses.sync.checkpoint=checkpoints/latentsync_unet.pt", "vae=checkpoints/demo/vae",
    ),
)  # fmt: skip

EARLIER = {
    "demo_audio_encoder": "whisper.pt", "demo_vae": "vae/config.json", "demo_vae_continued": "vae/config.json",
    "demo_vae_decoder_varied": "vae/config.json",
}  # fmt: skip
"""Files of the demo trainings that later lines read."""

Line = tuple[str, tuple[str, ...]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[Line, dict]:
    """Result of the dry run of every line, in a user folder beside a copy of the repository with the weights."""
    copy, folder = tmp_path_factory.mktemp("the repository"), tmp_path_factory.mktemp("a folder")
    for name in ("demo", "latentsync", "scripts", "configs", "tests"):
        shutil.copytree(REPOSITORY_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    write_published_stand_ins(copy / "checkpoints")
    (copy / "checkpoints" / "demo").symlink_to(REPOSITORY_ROOT / "checkpoints" / "demo")
    (folder / "configs").symlink_to(copy / "configs")
    # What the documented `python -m demo.training.spatial_weights` writes.
    write_unet(folder / "runs/spatial.pt", load_config(copy / "configs/demo/unet_stage1.yaml", UNetRun).model)
    for name in (
        "CLIPS",
        "HELD_OUT",
        "data/train",
        "data/train_48",
        "data/train_mixed",
        "data/val",
        "OUT/high_visual_quality",
    ):
        write_clip_stand_ins(folder / name)
    for run, weights in EARLIER.items():
        claim_run(folder / "runs" / run)
        (folder / "runs" / run / weights).parent.mkdir(exist_ok=True)
        (folder / "runs" / run / weights).write_bytes(b"only looked for")
    lines: list[Line] = [*((line.program, line.arguments) for line in LINES), EFFICIENT, WRONG]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    report = folder / "dry_runs.json"
    command = [sys.executable, "-m", "tests.dry_run_lines", str(report)]
    subprocess.run(command, cwd=folder, env=environment, input=json.dumps(lines), text=True, check=True)
    return dict(zip(lines, json.loads(report.read_text()), strict=True))


def write_clip_stand_ins(folder: Path) -> None:
    """Write clips that are listed but never opened: a video, a synthetic clip, and the lists of the pipeline."""
    (folder / "clip_0").mkdir(parents=True)
    for name in ("clip.mp4", *(f"clip_0/{name}" for name in CLIP_FILES)):
        (folder / name).write_bytes(b"")
    for name in ("train.txt", "validation.txt"):
        (folder / name).write_text("clip.mp4\n")


def line_with(*words: str) -> Line:
    """Return the first documented line with these arguments."""
    return next((line.program, line.arguments) for line in LINES if set(words) <= set(line.arguments))


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_its_dry_run_is_green(results: dict[Line, dict], line):
    result = results[line.program, line.arguments]
    assert result["status"] == 0, result["error"]


def test_stages_start_from_the_published_weights_or_those_of_your_own_stage_1(results: dict[Line, dict]):
    """Stage 2 loads all published tensors; between stages, motion modules are dropped or new, and this is logged."""
    clips = ("data.train_clips=CLIPS", "data.validation_clips=HELD_OUT")
    stage_1 = results[line_with("configs/unet/stage1.yaml", *clips)]
    stage_2 = results[line_with("configs/unet/stage2.yaml", *clips)]
    own_stage_2 = results[line_with("configs/unet/stage2.yaml", "initial=runs/unet_stage1/latentsync_unet.pt")]
    assert "tensors" not in stage_2["error"]
    assert "560 tensors have no place in this network" in stage_1["error"]
    assert "560 tensors start from initial values" in own_stage_2["error"]
    assert results[EFFICIENT]["status"] == 0
    assert re.search(r"\d+ tensors have no place in this network: down_blocks", results[EFFICIENT]["error"])


def test_what_is_missing_or_does_not_fit_is_named_line_by_line(results: dict[Line, dict]):
    result = results[WRONG]
    errors = [line for line in result["error"].splitlines() if line.startswith("error: ")]
    assert result["status"] == 2
    assert len(errors) == 4
    for part in ("nowhere.pt is missing", "whisper/small.pt is missing", "does not fit", "set model.in_channels=25"):
        assert any(part in line for line in errors), part
