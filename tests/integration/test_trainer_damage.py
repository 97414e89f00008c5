"""Damaged and foreign files in the run folder: the error is one line, and no file is lost."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentsync.errors import CheckpointError, InputError, LatentSyncError
from latentsync.training.checkpoint_files import write_manifest
from latentsync.training.checkpointing import CheckpointFolder, damage
from latentsync.training.run_folder import hold_run
from tests.integration.test_trainer_resume import MUON, assert_equal_checkpoints
from tests.integration.tiny_training import TinyStep, fit, tiny_config

SETTINGS: dict[str, Any] = {"ema_decay": 0.9, "schedule": {"name": "cosine", "warmup_steps": 2}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder with complete checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    fit(folder, TinyStep(dropout=0.3), **SETTINGS)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Copy of the trained run folder."""
    return Path(shutil.copytree(trained, tmp_path / "run", symlinks=True))


def as_of_an_older_version(run: Path) -> None:
    """Remove the files that older versions did not write."""
    for path in [*run.glob("checkpoints/step_*/manifest.json"), *run.glob(".latentsync.*")]:
        path.unlink()


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a flipped bit": ("optimizer.bin", flip),
    "half of it": ("optimizer.bin", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "zeros": ("random_0.pt", lambda path: path.write_bytes(b"\0" * path.stat().st_size)),
    "no configuration": ("config.yaml", Path.unlink),
    "no json": ("trainer_state.json", lambda path: path.write_text("{")),
    "no weights": ("model.safetensors", Path.unlink),
    "changed weights": ("model.safetensors", flip),
    "an empty file": ("average_0.pt", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_resume_falls_back_to_the_newest_whole_checkpoint(
    run: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file, harm = DAMAGES[name]
    newest = run / "checkpoints/step_00000004"
    harm(newest / file)
    report = fit(run, TinyStep(dropout=0.3), max_steps=3, **SETTINGS)
    assert report.checkpoint == run / "checkpoints/step_00000003"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert f"{newest} is damaged: {file}" in warnings[0]
    assert f"continues from {run / 'checkpoints/step_00000002'}" in warnings[0]
    assert newest.is_dir()


def test_after_the_fall_back_the_training_is_what_it_would_have_been(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    fit(whole, TinyStep(dropout=0.3), **MUON)
    shutil.copytree(whole, run, symlinks=True)
    flip(run / "checkpoints/step_00000004/optimizer.bin")
    fit(run, TinyStep(dropout=0.3), keep_last=1, save_every=1, **MUON)
    assert [path.name for path in CheckpointFolder(run).found()] == ["step_00000004"]
    assert_equal_checkpoints(whole / "checkpoints/step_00000004", run / "checkpoints/step_00000004")
    assert damage(run / "checkpoints/step_00000004") is None


def test_the_last_whole_checkpoint_outlives_later_saves(run: Path) -> None:
    """A damaged step 4 is later than step 3 and does not count among the last checkpoints."""
    flip(run / "checkpoints/step_00000004/optimizer.bin")
    fit(run, TinyStep(dropout=0.3), max_steps=3, keep_last=1, **SETTINGS)
    assert damage(run / "checkpoints/step_00000003") is None
    fit(run, TinyStep(dropout=0.3), max_steps=5, keep_last=1, save_every=0, **SETTINGS)
    assert [path.name for path in CheckpointFolder(run).complete()][-1] == "step_00000005"
    assert damage(run / "checkpoints/step_00000005") is None


def test_where_none_is_whole_one_line_says_what_to_do(run: Path) -> None:
    for step in (2, 4):
        flip(run / f"checkpoints/step_0000000{step}/optimizer.bin")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints .*optimizer\.bin is damaged.*move them away"):
        fit(run, **SETTINGS)


def test_a_damaged_checkpoint_that_is_named_is_refused_with_a_remedy_that_works(run: Path, tmp_path: Path) -> None:
    newest, older = (run / f"checkpoints/step_0000000{step}" for step in (4, 2))
    flip(newest / "optimizer.bin")
    with pytest.raises(CheckpointError, match=r"optimizer\.bin is damaged.*leave training\.resume out") as refused:
        fit(run, resume=str(newest), **SETTINGS)
    assert str(older) in str(refused.value)
    assert fit(run, TinyStep(dropout=0.3), max_steps=3, **SETTINGS).global_step == 3
    with pytest.raises(CheckpointError, match=f"give training.resume={run / 'checkpoints'}/step_00000003"):
        fit(tmp_path / "other", resume=str(newest), **SETTINGS)
    report = fit(tmp_path / "other", resume=str(run / "checkpoints/step_00000003"), **SETTINGS)
    assert report.global_step == 4


def test_checkpoints_of_older_versions_are_continued_and_said_to_be_unverified(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    as_of_an_older_version(run)
    with caplog.at_level(logging.INFO, "latentsync"):
        fit(run, max_steps=5, **SETTINGS)
    assert caplog.text.count("cannot be verified") == 1
    assert damage(run / "checkpoints/step_00000005") is None
    assert (run / ".latentsync.json").is_file()


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "changed weights"])
def test_damage_of_older_checkpoints_is_found_by_their_own_checksums(
    run: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    as_of_an_older_version(run)
    file, harm = DAMAGES[name]
    harm(run / "checkpoints/step_00000004" / file)
    fit(run, max_steps=3, **SETTINGS)
    assert f"step_00000004 is damaged: {file}" in caplog.text


class Foreign:
    """Object of a class that torch.load refuses."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


def as_foreign(path: Path) -> None:
    torch.save({"state": Foreign(), "param_groups": []}, path)


def changed(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Load, change and save a file of torch.save."""

    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        torch.save(change(content), path)

    return write


def with_moment(make: Callable[[torch.Tensor], Any]) -> Callable[[Path], None]:
    """Replace the first moment of the first weight."""

    def change(content: Any) -> Any:
        content["state"][0]["exp_avg"] = make(content["state"][0]["exp_avg"])
        return content

    return changed(change)


def changed_weights(make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        weights = load_file(path)
        save_file({name: make(value).contiguous() for name, value in weights.items()}, path)

    return write


PLAIN = ("optimizer.bin", "scheduler.bin", "average_0.pt", "random_0.pt")
CONTENTS: list[tuple[str, Callable[[Path], None]]] = [
    *((file, as_foreign) for file in PLAIN),
    *((file, changed(lambda content: [1, 2])) for file in PLAIN),
    *((file, changed(lambda content: {1: 2})) for file in PLAIN),
    ("optimizer.bin", with_moment(lambda moment: moment.to(torch.int64))),
    ("optimizer.bin", with_moment(lambda moment: moment.to_sparse())),
    ("optimizer.bin", with_moment(lambda moment: moment.to("meta"))),
    ("optimizer.bin", with_moment(lambda moment: moment[:1])),
    ("optimizer.bin", with_moment(lambda moment: moment * torch.nan)),
    ("optimizer.bin", with_moment(lambda moment: "text")),
    ("optimizer.bin", changed(lambda content: {**content, "state": {"x": {}}})),
    ("optimizer.bin", changed(lambda content: {**content, "param_groups": [{7: 1}]})),
    ("scheduler.bin", changed(lambda content: {**content, "step": 1})),
    ("scheduler.bin", changed(lambda content: {**content, "base_lrs": [torch.nan]})),
    ("average_0.pt", changed(lambda content: {**content, "averages": content["averages"][:1]})),
    ("average_0.pt", changed(lambda content: {**content, "averages": [x * torch.inf for x in content["averages"]]})),
    ("random_0.pt", changed(lambda content: {**content, "torch": content["torch"][:3]})),
    ("model.safetensors", changed_weights(lambda weight: weight * torch.nan)),
    ("model.safetensors", changed_weights(lambda weight: weight.flatten()[:1])),
]  # fmt: skip


@pytest.mark.parametrize(("file", "write"), CONTENTS)
def test_wrong_content_is_one_line_that_names_the_file(
    run: Path, file: str, write: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest is rewritten, so that only the content is wrong."""
    newest = run / "checkpoints/step_00000004"
    write(newest / file)
    (newest / "manifest.json").unlink()
    write_manifest(newest)
    with pytest.raises(CheckpointError) as refused:
        fit(run, max_steps=5, **SETTINGS)
    text = str(refused.value)
    assert f"step_00000004: {file} " in text
    assert "move this folder away" in text
    assert "\n" not in text
    assert "executed" not in capsys.readouterr().out
    newest.rename(run / "elsewhere")
    assert fit(run, TinyStep(dropout=0.3), max_steps=3, **SETTINGS).global_step == 3


def test_damaged_lines_of_metrics_are_left_out(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    as_of_an_older_version(run)
    metrics = run / "checkpoints/step_00000004/metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join([lines[0], b"\xff\xfe{\n", b"[1]\n", b'{"step": "x"}\n', *lines[1:]]))
    fit(run, max_steps=5, **SETTINGS)
    assert "3 damaged lines of metrics are skipped" in caplog.text
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5]


def test_a_finished_run_makes_up_for_what_its_last_save_left_undone(run: Path) -> None:
    """The run was killed between checkpoint and export; an exported file that changed since is not overwritten."""
    (run / "tiny.pt").unlink()
    assert fit(run, **SETTINGS).was_finished
    assert torch.load(run / "tiny.pt", weights_only=True)["global_step"] == 4
    (run / "tiny.pt").write_text("changed")
    assert fit(run, **SETTINGS).was_finished
    assert (run / "tiny.pt").read_text() == "changed"


@pytest.mark.parametrize("name", ["config.yaml", "charts/mine.png", "validation/step_1/notes.txt", "tiny.pt"])
def test_a_folder_of_somebody_else_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("the user's")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"did not make: choose another training\.run_dir"):
        fit(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert path.read_text() == "the user's"


def test_two_trainings_in_one_folder(run: Path) -> None:
    program = (
        "import sys\nfrom latentsync.training.run_folder import hold_run\n"
        "from tests.integration.tiny_training import tiny_config\n"
        "with hold_run(tiny_config(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match=rf"is in use by process {other.pid} on .*: wait until it ends, or choose"):
            fit(run, max_steps=5, **SETTINGS)
        other.communicate("")
    assert fit(run, max_steps=5, **SETTINGS).global_step == 5


def test_a_run_that_is_held_is_held_once(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    with hold_run(config), hold_run(config) as inner:
        assert inner.checkpoint is None
    with hold_run(config):
        pass


def test_a_hold_that_fails_leaves_the_folder_free(tmp_path: Path) -> None:
    fit(tmp_path)
    with pytest.raises(LatentSyncError), hold_run(tiny_config(tmp_path, resume="none")):
        pass
    assert fit(tmp_path, max_steps=5).global_step == 5
