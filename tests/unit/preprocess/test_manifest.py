import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.errors import InputError
from preprocess.step import Clip
from preprocess.store import manifest as manifest_module
from preprocess.store.manifest import Manifest, manifest_path
from preprocess.store.records import Product, Row, StepRecord

STEP = StepRecord(2, "split", "split", 1, False, {"word": "a"}, {"bad": "it is"}, "chain-a")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out put"


@pytest.fixture
def manifest(root: Path) -> Manifest:
    opened = Manifest(manifest_path(root, 2, "split"), root)
    opened.begin(STEP)
    return opened


def done_row(root: Path, key: str, num_outputs: int = 1) -> Row:
    products = []
    for index in range(num_outputs):
        path = root / "split" / f"{key}{index}.mp4"
        facts = {"note": str(path.with_suffix(".txt")), "sizes": [1, 2.5], "raw": "/elsewhere/x", "inner": {"a": None}}
        products.append(Product(Clip(f"{key}-{index}", "src", f"n_{key}{index}", path, facts), 3, ("note",)))
    return Row(
        key, f"clip {key}", "src", f"n_{key}", Path("/raw/ü 'x'.mp4"), "done", products=tuple(products),
        facts={"length": 4}, settings="s", seconds=1.5, finished=10.0,
    )  # fmt: skip


def test_a_row_is_read_unchanged(manifest: Manifest, root: Path) -> None:
    rows = [
        done_row(root, "a", 2),
        Row("b", "c", "s", "n", Path("/raw/b.mp4"), "rejected", "bad", "too bad", facts={"offset": -3}, finished=1.0),
        Row("c", "d", "s", "n", Path(b"/raw/\xff\n.mp4".decode("utf-8", "surrogateescape")), "failed", "crashed"),
    ]
    for row in reversed(rows):
        manifest.record(row)
    assert list(manifest.iter_rows()) == rows
    assert [manifest.get(row.record_key) for row in rows] == rows
    assert manifest.get("nothing") is None
    assert [clip.name for clip in manifest.iter_outputs()] == ["n_a0", "n_a1"]
    assert [row.record_key for row in manifest.iter_rows(status="failed")] == ["c"]


def test_a_detail_that_is_no_unicode_is_stored_with_escapes(manifest: Manifest) -> None:
    manifest.record(Row("a", "c", "s", "n", Path("/x"), "failed", "error", "no \udcff"))
    row = manifest.get("a")
    assert row is not None
    assert row.detail == "no \\udcff"


def test_the_output_folder_can_be_moved(manifest: Manifest, root: Path, tmp_path: Path) -> None:
    manifest.record(done_row(root, "a"))
    manifest.close()
    moved = root.rename(tmp_path / "moved")
    [found] = Manifest.existing(moved)
    with found:
        [clip] = found.iter_outputs()
    assert clip.path == moved / "split" / "a0.mp4"
    assert clip.facts == {
        "note": str(moved / "split" / "a0.txt"), "sizes": [1, 2.5], "raw": "/elsewhere/x", "inner": {"a": None}
    }  # fmt: skip


def test_rows_missing_in_the_last_run_are_not_current(manifest: Manifest, root: Path) -> None:
    for key in "abc":
        manifest.record(done_row(root, key))
    assert not manifest.is_complete
    manifest.finish()
    manifest.begin(STEP)
    assert not manifest.is_visited("a")
    manifest.visit("a")
    assert manifest.is_visited("a")
    assert [row.record_key for row in manifest.iter_rows()] == ["a", "b", "c"], "the run is not at its end"
    manifest.finish()
    assert manifest.is_complete
    assert [row.record_key for row in manifest.iter_rows()] == ["a"]
    assert len(list(manifest.iter_rows(current_only=False))) == 3


def test_rows_of_other_settings_come_back_with_them(manifest: Manifest, root: Path) -> None:
    manifest.record(done_row(root, "a"))
    manifest.finish()
    manifest.begin(replace(STEP, chain="chain-b"))
    assert list(manifest.iter_rows()) == []
    manifest.record(done_row(root, "b"))
    manifest.finish()
    assert [row.record_key for row in manifest.iter_rows()] == ["b"]
    assert manifest.counts("chain-a").num_done == 1
    manifest.begin(STEP)
    manifest.visit("a")
    manifest.finish()
    assert [row.record_key for row in manifest.iter_rows()] == ["a"]
    assert manifest.step == STEP


def test_counts(manifest: Manifest, root: Path) -> None:
    manifest.record(done_row(root, "a", 3))
    for key in "bc":
        manifest.record(Row(key, "c", "s", "n", Path("/x"), "rejected", "bad", seconds=2.0))
    manifest.record(Row("d", "c", "s", "n", Path("/x"), "failed", "timeout"))
    counts = manifest.counts()
    assert (counts.num_done, counts.num_rejected, counts.num_failed, counts.num_outputs) == (1, 2, 1, 3)
    assert counts.num_rows == 4
    assert counts.reasons == {("done", ""): 1, ("rejected", "bad"): 2, ("failed", "timeout"): 1}
    assert counts.seconds == 5.5


def test_reading_in_pages_while_a_run_writes(manifest: Manifest, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "_PAGE_ROWS", 2)
    for key in "abcde":
        manifest.record(done_row(root, key))
    [reader] = Manifest.existing(root)
    rows = reader.iter_rows()
    first = next(rows).record_key
    manifest.record(replace(done_row(root, "e"), seconds=99.0))
    assert [first, *(row.record_key for row in rows)] == list("abcde")
    reader.close()


def test_a_damaged_manifest_is_named(root: Path) -> None:
    path = manifest_path(root, 1, "x")
    path.parent.mkdir(parents=True)
    path.write_text("no database, whatever its name says; long enough to be looked at as one. " * 20)
    with pytest.raises(InputError, match=r"1_x.sqlite cannot be used as a manifest"):
        Manifest(path, root)


def test_a_recorded_row_is_visible_to_others_at_once(manifest: Manifest, root: Path) -> None:
    manifest.record(done_row(root, "a"))
    other = sqlite3.connect(manifest_path(root, 2, "split"))
    assert other.execute("SELECT COUNT(*) FROM records").fetchone() == (1,)
    other.close()
