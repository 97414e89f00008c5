import zipfile

import numpy as np
import pytest

from latentsync.errors import InputError
from preprocess.steps.single_face import SingleFace, read_single_face, write_single_face


def some_face(n=7):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 500, (n, *shape)).astype(np.float32) for shape in ((4,), (3, 2), ())]
    return SingleFace(*arrays, rng.random(n) > 0.3)


def test_what_is_written_is_read(tmp_path):
    face = some_face()
    write_single_face(tmp_path / "a.npz", face)
    again = read_single_face(tmp_path / "a.npz")
    assert len(again) == 7
    for name in ("boxes", "anchors", "scores", "detected"):
        assert np.array_equal(getattr(again, name), getattr(face, name))
        assert getattr(again, name).dtype == getattr(face, name).dtype


def test_the_bytes_do_not_depend_on_when_or_where(tmp_path, monkeypatch):
    write_single_face(tmp_path / "a.npz", some_face())
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_single_face(tmp_path / "other.npz", some_face())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_doubles_are_stored_as_floats(tmp_path):
    face = some_face()
    write_single_face(tmp_path / "a.npz", face)
    write_single_face(
        tmp_path / "b.npz", SingleFace(face.boxes.astype(float), face.anchors, face.scores, face.detected)
    )
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_arrays_of_unlike_length_are_not_written(tmp_path):
    face = some_face()
    with pytest.raises(ValueError, match="anchors of a face track has shape"):
        write_single_face(tmp_path / "a.npz", SingleFace(face.boxes, face.anchors[:3], face.scores, face.detected))
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_told(tmp_path):
    whole = tmp_path / "whole.npz"
    write_single_face(whole, some_face())
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "pickled.npz", boxes=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "other.npz", boxes=np.zeros((3, 4)))
    np.savez(tmp_path / "uneven.npz", **{**vars(some_face()), "scores": np.zeros(2)})
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    names = ["cut", "empty", "text", "pickled", "other", "uneven", "array", "missing"]
    for name in names:
        with pytest.raises(InputError, match=f"{name}.npz is not a face track that can be read: run step 5 again"):
            read_single_face(tmp_path / f"{name}.npz")
