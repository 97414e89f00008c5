from pathlib import Path

import pytest

from latentsync.data.clip_list import list_clips
from preprocess.file_lists import split_sources, write_file_lists
from preprocess.step import Clip
from preprocess.store.keys import hash_of
from preprocess.store.manifest import Manifest, manifest_path
from preprocess.store.records import Product, Row, StepRecord


def sources(number: int) -> list[str]:
    return [hash_of("source", str(index)) for index in range(number)]


def held_out(names: list[str], seed: int = 0, share: float = 0.2) -> set[str]:
    split = split_sources(names, seed, share)
    return {name for name in names if split.holds_out(name)}


def test_the_share_is_held_out() -> None:
    names = sources(5000)
    assert len(held_out(names)) == pytest.approx(1000, abs=120)
    assert held_out(names) != held_out(names, seed=1)
    assert held_out(names) == held_out(names[::-1])


def test_sources_keep_their_side_while_the_data_grow() -> None:
    names = sources(1000)
    few = held_out(names[:100])
    assert few == held_out(names) & set(names[:100])


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("number", [2, 3, 10])
def test_both_sides_have_a_source(number: int, share: float) -> None:
    assert 0 < len(held_out(sources(number), share=share)) < number


def test_where_nothing_is_held_out() -> None:
    assert held_out(sources(10), share=0) == set()
    assert held_out(sources(1), share=0.9) == set()
    assert held_out([]) == set()


def test_lists_name_every_clip_on_one_side(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Manifest(manifest_path(tmp_path, 8, "quality"), tmp_path) as manifest:
        manifest.begin(StepRecord(8, "quality", "kept", 1, False, {}, {}, "chain"))
        for index, source in enumerate(sources(6)):
            paths = [folder / source[:2] / f"ü {index} {part}.mp4" for part in range(3)]
            products = tuple(Product(Clip(f"{path}", source, path.stem, path), 1) for path in paths)
            manifest.record(Row(f"{index}", "c", source, "n", Path("/x"), "done", products=products))
        listed = write_file_lists(manifest, folder, 0, 0.4)
    every, train, validation = (list_clips(folder / f"{name}.txt") for name in ("all", "train", "validation"))
    assert len(every) == 18
    assert sorted(train + validation) == sorted(every)
    assert (len(train), len(validation)) == (listed.num_train, listed.num_validation)
    assert {path.parent for path in train}.isdisjoint({path.parent for path in validation})
    assert sorted(file.name for file in folder.iterdir()) == ["all.txt", "train.txt", "validation.txt"]
