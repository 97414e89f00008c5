import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.storage import content_cache
from latentsync.storage.content_cache import ArrayCache, cache_key, content_key

KEY = cache_key("a", 1)


def test_an_array_is_computed_once_and_then_memory_mapped(tmp_path: Path) -> None:
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.arange(6, dtype=np.float16).reshape(2, 3)

    cache = ArrayCache(tmp_path / "new")
    assert not cache.holds(KEY)
    assert cache.read(KEY) is None
    for _ in range(2):
        array = cache.get(KEY, make)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
    assert len(calls) == 1
    assert cache.holds(KEY)
    assert [p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*.npy")] == [
        f"{KEY[:2]}/{KEY}.npy"
    ]


def test_keys_depend_on_every_part_and_its_length() -> None:
    keys = {cache_key("ab", "c"), cache_key("a", "bc"), cache_key("abc"), cache_key("ab", "c", 0), cache_key("b", "ac")}
    assert len(keys) == 5


def test_a_failed_array_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ArrayCache(tmp_path).get(KEY, fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.get(KEY, lambda: np.ones(1000))
    for content in (b"", cache.path(KEY).read_bytes()[:300]):
        cache.path(KEY).write_bytes(content)
        np.testing.assert_array_equal(cache.get(KEY, lambda: np.ones(1000)), np.ones(1000))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*data\.cache_dir") as caught:
        ArrayCache(tmp_path / "file").get(KEY, lambda: np.ones(1))
    assert "\n" not in str(caught.value)


def _fill(folder: Path, value: float, results: "multiprocessing.Queue[float]") -> None:
    array = ArrayCache(folder).get(KEY, lambda: np.full(200_000, value))
    results.put(float(array.min()) if array.min() == array.max() else -1.0)


def test_concurrent_processes_read_complete_arrays(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[float] = context.Queue()
    makers = [context.Process(target=_fill, args=(tmp_path, float(value), results)) for value in range(1, 5)]
    for maker in makers:
        maker.start()
    values = [results.get(timeout=60) for _ in makers]
    for maker in makers:
        maker.join()
    assert set(values) <= {1.0, 2.0, 3.0, 4.0}
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_copies_share_a_key_and_other_bytes_do_not(tmp_path: Path) -> None:
    for name, content in (("a.mp4", b"x" * 3_000_000), ("b.mp4", b"x" * 3_000_000), ("c.mp4", b"x" * 2_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (content_key(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert first == second != third
    assert len(first) == 40


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, index, read = tmp_path / "a.mp4", tmp_path / "index", []
    hash_file = content_cache._hash_file
    monkeypatch.setattr(content_cache, "_hash_file", lambda path: read.append(path) or hash_file(path))
    path.write_bytes(b"one")
    first = content_key(path, index)
    assert content_key(path, index) == first
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert content_key(path, index) != first
    assert content_key(path, index) == content_key(path)


def test_a_process_reads_an_unchanged_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "weights.pt", []
    hash_file = content_cache._hash_file
    monkeypatch.setattr(content_cache, "_hash_file", lambda path: read.append(path) or hash_file(path))
    path.write_bytes(b"one")
    assert content_key(path) == content_key(path)
    assert len(read) == 2, "a file written just now could change again within the resolution of the clock"
    os.utime(path, ns=(1, 1))
    one = content_key(path)
    assert content_key(path) == one
    assert len(read) == 3
    path.write_bytes(b"two")
    os.utime(path, ns=(2, 2))
    assert content_key(path) != one


def test_a_damaged_index_is_ignored(tmp_path: Path) -> None:
    path, index = tmp_path / "a.mp4", tmp_path / "index"
    path.write_bytes(b"one")
    key = content_key(path, index)
    for content in ("", "[]", '{"stamp": 3}'):
        next(index.rglob("*.json")).write_text(content)
        assert content_key(path, index) == key


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.mp4"):
        content_key(tmp_path / "gone.mp4")
