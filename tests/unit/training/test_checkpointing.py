"""The checkpoint folder keeps the right checkpoints and no other file is changed."""

import errno
import os
from pathlib import Path

import pytest

from latentsync.errors import CheckpointError
from latentsync.training.checkpointing import (
    CheckpointFolder,
    Progress,
    damage,
    differing_keys,
    read_state,
    step_of,
    write_state,
)


def saved(folder: CheckpointFolder, step: int, content: str = "weights") -> Path:
    partial = folder.partial(step)
    partial.mkdir(parents=True)
    (partial / "model.pt").write_text(content)
    (partial / "config.yaml").write_text("{}")
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
    folder.prune(2, best_step=2, current_step=5)
    assert names(folder) == [
        ".step_00000009.partial", "best", "step_00000000", "step_00000002", "step_00000004", "step_00000005",
        "step_notes",
    ]  # fmt: skip
    folder.remove_partial()
    assert ".step_00000009.partial" not in names(folder)
    folder.link_best(5)
    assert os.readlink(folder.path / "best") == "step_00000005"


def test_a_disk_without_links_has_no_link_to_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Path, target: str, target_is_directory: bool = False) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    folder = CheckpointFolder(tmp_path)
    saved(folder, 1)
    monkeypatch.setattr(Path, "symlink_to", fail)
    folder.link_best(1)
    assert names(folder) == ["step_00000001"]
    assert "was not linked as the best checkpoint (Operation not permitted)" in caplog.text


def test_prune_counts_neither_damaged_checkpoints_nor_those_beyond_the_current_step(tmp_path: Path) -> None:
    """After a fallback from a damaged step 4 to step 2, the checkpoint of step 3 is kept despite the later one."""
    folder = CheckpointFolder(tmp_path, damaged=["step_00000001"])
    for step in (1, 2, 3, 4):
        saved(folder, step)
    folder.damaged.add("step_00000001")
    folder.prune(1, None, current_step=3)
    assert names(folder) == ["step_00000001", "step_00000003", "step_00000004"]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("model.pt", "WEIGHTS", "model.pt is damaged"),
        ("model.pt", "weight", "model.pt has 6 bytes instead of 7"),
        ("model.pt", None, "model.pt is missing"),
        ("config.yaml", None, "config.yaml is missing"),
        ("trainer_state.json", None, "trainer_state.json is missing"),
        ("manifest.json", "{", "manifest.json cannot be read"),
        ("manifest.json", "[1]", "manifest.json cannot be read"),
        ("manifest.json", '{"../a": {"size": 1, "sha256": ""}}', "manifest.json cannot be read"),
        ("manifest.json", "{}", "manifest.json lists no trainer_state.json"),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, name: str, content: str | None, what: str) -> None:
    folder = CheckpointFolder(tmp_path)
    checkpoint = saved(folder, 1)
    assert damage(checkpoint) is None
    if content is None:
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_text(content)
    assert what in str(damage(checkpoint))


@pytest.mark.parametrize(
    "state",
    [
        "[1]",
        '{"global_step": "x"}',
        '{"global_step": -1}',
        '{"best_value": "low"}',
        "null",
        "[" * 100_000,
        '{"is_validation_missing": 1}',
    ],
)
def test_a_state_of_other_values_is_damaged(tmp_path: Path, state: str) -> None:
    checkpoint = saved(CheckpointFolder(tmp_path), 1)
    (checkpoint / "manifest.json").unlink()  # as an older version wrote it
    (checkpoint / "trainer_state.json").write_text(state)
    assert damage(checkpoint) == "trainer_state.json is damaged"


def test_only_our_own_temporary_folders_are_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.path.mkdir()
    others = [".step_00000009.backup", ".step_9.partial", "step_00000009.partial", ".partial", ".notes.removed"]
    for name in others:
        (folder.path / name).mkdir()
    (folder.path / ".step_00000001.partial").write_text("a file")
    (folder.path / ".step_00000002.partial").symlink_to(tmp_path, target_is_directory=True)
    (folder.path / ".step_00000003.removed").mkdir()
    folder.remove_partial()
    assert names(folder) == sorted([*others, ".step_00000001.partial", ".step_00000002.partial"])


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
    folder.prune(1, None, 2)
    assert published.read_text() == "weights 2"


def test_what_becomes_of_a_published_file_does_not_reach_its_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    checkpoint = saved(folder, 1)
    folder.publish(1, "model.pt").write_text("fine-tuned in place")
    assert damage(checkpoint) is None


@pytest.mark.parametrize("content", ["", "{", '{"unknown": 1}'])
def test_a_state_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"trainer_state\.json is damaged"):
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
        (folder.partial(step) / "config.yaml").write_text("{}")
        folder.finish(step)
        assert folder.publish(step, "vae") == tmp_path / "vae"
        (tmp_path / "vae" / "notes.txt").write_text("the user's")
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == ["config.json", "new.bin", "notes.txt"]
    assert (tmp_path / "vae" / "config.json").read_text() == "config.json 2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "vae"]
