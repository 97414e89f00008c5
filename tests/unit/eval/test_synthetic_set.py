import json
from pathlib import Path

import numpy as np
import pytest

from eval.jobs import read_jobs
from eval.synthetic_set import SyntheticSet, main
from latentsync.errors import InputError
from latentsync.media.reader import VideoReader


def read(path: Path) -> np.ndarray:
    with VideoReader(path) as frames:
        return np.stack(list(frames)).astype(int)


@pytest.mark.needs_espeak
def test_a_set_has_the_same_person_with_the_other_speech_and_resumes(tmp_path: Path):
    arguments = ["--out", str(tmp_path / "set"), "--num", "2", "--seconds", "1", "--size", "96"]
    assert main(arguments) == 0
    jobs = {job.stem: job for job in read_jobs(tmp_path / "set" / "list.csv", "reconstruction", 0)}
    assert len(jobs) == 4
    dubbed, own = jobs["cross_audio-person_0000"], jobs["reconstruction-person_0000"]
    assert dubbed.audio == jobs["reconstruction-person_0001"].audio != own.audio
    assert dubbed.video == own.video == own.reference
    assert dubbed.reference is not None
    source, truth = read(dubbed.video), read(dubbed.reference)
    assert source.shape == truth.shape == (25, 96, 96, 3)
    difference = np.abs(source - truth).mean(axis=(0, 3))
    assert difference[:32].max() < 4  # hair and brows, where only the codec differs
    assert difference[40:].max() > 15  # the mouth
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.mp4")}
    dubbed.reference.unlink()
    assert main(arguments) == 0
    assert np.array_equal(read(dubbed.reference), truth)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items() if path != dubbed.reference)


def test_another_set_does_not_mix_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "set.json").write_text(
        json.dumps({"version": 1, "seed": 7, "num_clips": 2, "seconds": 3.5, "size": 288})
    )
    assert main(["--out", str(tmp_path), "--num", "2"]) == 2
    assert "holds a set made otherwise" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["set.json"]


@pytest.mark.parametrize("values", [{"num_clips": 1}, {"seconds": 0.1}, {"size": 10}])
def test_sets_that_cannot_be_are_refused(values: dict[str, int]):
    with pytest.raises(InputError, match="--"):
        SyntheticSet(**values)
