"""Folders of adapted weights that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from latentsync.errors import CheckpointError
from latentsync.recipes.adapted_weights import CONFIG, LORA_WEIGHTS, RECORD, VERSION, WEIGHTS, read_adapted
from latentsync.storage.content_cache import content_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with base weights, and weights adapted from them in `anna`."""
    for name in ("unet.pt", "whisper.pt"):
        (tmp_path / name).write_text(name)
    folder = tmp_path / "anna"
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        (folder / name).write_text(name)
    record = {
        "version": VERSION,
        "base": "unet.pt",
        "files": {name: content_key(folder / name) for name in (WEIGHTS, CONFIG)},
        "belongs_to": {name: content_key(tmp_path / name) for name in ("unet.pt", "whisper.pt")},
    }
    (folder / RECORD).write_text(json.dumps(record))
    return tmp_path


def test_a_finished_adaptation(root: Path):
    adapted = read_adapted(root / "anna", root)
    assert (adapted.config, adapted.checkpoint) == (root / "anna" / CONFIG, root / "anna" / WEIGHTS)
    (root / "unet.pt").unlink()
    assert read_adapted(root / "anna", root).record["base"] == "unet.pt", "the base itself is not needed any more"


def test_low_rank_changes_need_their_base(root: Path):
    record = json.loads((root / "anna" / RECORD).read_text())
    (root / "anna" / WEIGHTS).rename(root / "anna" / LORA_WEIGHTS)
    record["files"][LORA_WEIGHTS] = record["files"].pop(WEIGHTS)
    (root / "anna" / RECORD).write_text(json.dumps(record))
    adapted = read_adapted(root / "anna", root)
    assert (adapted.checkpoint, adapted.needs_base) == (root / "anna" / LORA_WEIGHTS, True)
    (root / "unet.pt").unlink()
    with pytest.raises(CheckpointError, match=r"unet\.pt is missing or has changed"):
        read_adapted(root / "anna", root)


def change_record(root: Path, **changes: object) -> None:
    record = json.loads((root / "anna" / RECORD).read_text())
    (root / "anna" / RECORD).write_text(json.dumps(record | changes))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another folder": (lambda root: (root / "anna" / RECORD).unlink(), "has no adapt.json"),
    "unfinished": (
        lambda root: ((root / "anna" / RECORD).unlink(), (root / "anna" / "clips").mkdir()),
        "is not finished",
    ),
    "damaged record": (lambda root: (root / "anna" / RECORD).write_text("{"), r"adapt\.json is damaged"),
    "incomplete record": (lambda root: (root / "anna" / RECORD).write_text('{"version": 1}'), "is damaged"),
    "other version": (lambda root: change_record(root, version=VERSION + 1), "another version"),
    "record without files": (lambda root: change_record(root, files={}), "is damaged"),
    "record without weights": (lambda root: change_record(root, files={CONFIG: "0"}), "is damaged"),
    "record without base weights": (lambda root: change_record(root, belongs_to={}), "is damaged"),
    "record of a file elsewhere": (
        lambda root: change_record(root, files={CONFIG: "0", WEIGHTS: "0", "../unet.pt": "0"}),
        r"adapt\.json is damaged",
    ),
    "list for files": (lambda root: change_record(root, files=[[CONFIG, "0"]]), "is damaged"),
    "damaged weights": (lambda root: (root / "anna" / WEIGHTS).write_text("x"), "missing or damaged"),
    "no configuration": (lambda root: (root / "anna" / CONFIG).unlink(), "missing or damaged"),
    "other base": (lambda root: (root / "unet.pt").write_text("x"), "was adapted from other weights"),
    "no encoder": (lambda root: (root / "whisper.pt").unlink(), "was adapted from other weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_cannot_be_used(root: Path, fault: str):
    damage, message = FAULTS[fault]
    damage(root)
    with pytest.raises(CheckpointError, match=message):
        read_adapted(root / "anna", root)
