"""The checkpoint folder keeps what it should and touches nothing else."""

import os
from pathlib import Path

import pytest

from latentsync.errors import CheckpointError
from latentsync.training.checkpointing import (
    CheckpointFolder,
    Progress,
    differing_keys,
    read_state,
    step_of,
    write_state,
)


def saved(folder: CheckpointFolder, step: int, content: str = "weights") -> Path:
    partial = folder.partial(step)
    partial.mkdir(parents=True)
    (partial / "model.pt").write_text(content)
    write_state(partial, Progress(step, 8 * step, best_value=0.5))
    return folder.finish(step)


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_latest_is_the_newest_complete_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.latest() is None
    saved(folder, 9)
    saved(folder, 100_000_000)
    (folder.path / "step_99999999").mkdir()  # no state file: somebody else's
    folder.partial(200_000_000).mkdir()
    latest = folder.latest()
    assert latest is not None
    assert step_of(latest) == 100_000_000
    assert read_state(latest) == Progress(100_000_000, 800_000_000, best_value=0.5)


def test_prune_keeps_the_last_the_best_and_what_is_no_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 6):
        saved(folder, step)
    folder.link_best(2)
    (folder.path / "step_notes").mkdir()
    (folder.path / "step_00000000").mkdir()
    folder.partial(9).mkdir()
    folder.prune(2, best_step=2)
    assert names(folder) == [
        ".step_00000009.partial", "best", "step_00000000", "step_00000002", "step_00000004", "step_00000005",
        "step_notes",
    ]  # fmt: skip
    folder.remove_partial()
    assert ".step_00000009.partial" not in names(folder)
    folder.link_best(5)
    assert os.readlink(folder.path / "best") == "step_00000005"


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 3)
    final = saved(folder, 3, "again")
    assert (final / "model.pt").read_text() == "again"
    assert names(folder) == ["step_00000003"]


def test_a_published_file_outlives_its_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2):
        saved(folder, step, f"weights {step}")
        published = folder.publish(step, "model.pt")
        assert published.read_text() == f"weights {step}"
    assert (folder.final(1) / "model.pt").read_text() == "weights 1"
    folder.prune(1, None)
    assert published.read_text() == "weights 2"


def test_publish_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 1)
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no links here")))
    assert folder.publish(1, "model.pt").read_text() == "weights"


@pytest.mark.parametrize("content", ["", "{", '{"unknown": 1}'])
def test_a_state_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match="is no complete checkpoint"):
        read_state(tmp_path)


def test_differing_keys() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": None}
    other = {"a": {"b": 2, "c": [1, 2]}, "d": 1, "f": {"g": 1}}
    assert list(differing_keys(one, other)) == ["a.b", "f"]


def test_a_folder_is_published_whole(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step, names_inside in ((1, ("config.json", "old.bin")), (2, ("config.json", "new.bin"))):
        exported = folder.partial(step) / "vae"
        exported.mkdir(parents=True)
        for name in names_inside:
            (exported / name).write_text(f"{name} {step}")
        write_state(folder.partial(step), Progress(step))
        folder.finish(step)
        assert folder.publish(step, "vae") == tmp_path / "vae"
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == ["config.json", "new.bin"]
    assert (tmp_path / "vae" / "config.json").read_text() == "config.json 2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "vae"]
