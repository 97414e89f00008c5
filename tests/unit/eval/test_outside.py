"""Change outside the mask, on real (tiny, lossless) videos."""

import numpy as np
import pytest
import torch

from eval.face_clips import FaceClips
from eval.metrics.outside import METRIC, generated_pixels
from eval.pairs import Pair
from latentsync.errors import NotMeasured
from latentsync.face.align import alignment_matrices
from latentsync.face.mask import keep_mask
from tests.tiny_pipeline import ToldDetector
from tests.unit.eval.made_clips import ANCHORS, SIZE, record_of, textured, write_video


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return alignment_matrices(ANCHORS[None], SIZE)[0]


def test_generated_pixels_are_those_whose_place_in_the_crop_is_generated(matrix):
    generated_area = generated_pixels(matrix, SIZE, 128, 120)
    rows, columns = np.mgrid[:120, :128]
    x, y = matrix[:, :2].astype(float) @ np.stack([columns.ravel(), rows.ravel()]) + matrix[:, 2:]
    x, y = np.round(x).astype(int), np.round(y).astype(int)
    inside = (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
    generated = np.zeros(x.shape, bool)
    generated[inside] = keep_mask(SIZE).numpy()[y[inside], x[inside]] == 0
    assert generated_area.ravel()[generated].all()
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    grown = generated_area.sum() / generated.sum()
    assert 1 < grown < 1 + 8 / (np.sqrt(generated.sum()) * scale) * 4  # wider by a few pixels, no more


def test_only_what_changes_outside_counts(tmp_path, matrix):
    source = textured(8, 128)
    generated_area = generated_pixels(matrix, SIZE, 128, 128)
    inside, outside = np.tile(source, (2, 1, 1, 1))[:12], source.copy()
    inside[8:] = source[:4]  # longer than the source, which starts again
    inside[:, generated_area] ^= 255
    outside[4, ~generated_area] = outside[4, ~generated_area] // 2 + 5
    videos = {
        name: write_video(tmp_path / f"{name}.mkv", frames)
        for name, frames in {"source": source, "inside": inside, "outside": outside, "small": source[:, :64]}.items()
    }
    record = record_of(tmp_path, {"options": {"sync_mode": "loop"}})
    measure = METRIC.load(torch.device("cpu"))
    with FaceClips(tmp_path / "c", resolution=SIZE, detector=ToldDetector(lambda _: True), detector_name="t") as clips:
        values = {
            name: measure(Pair(name, videos[name], videos["source"], videos[name], report=record), clips)
            for name in ("source", "inside", "outside")
        }
        assert values["source"] == values["inside"] == {"outside_change": 0, "outside_worst": 0}
        change = np.abs(outside[4, ~generated_area].astype(float) - source[4, ~generated_area]).mean()
        assert values["outside"]["outside_worst"] == pytest.approx(change)
        assert values["outside"]["outside_change"] == pytest.approx(change / 8)
        with pytest.raises(NotMeasured, match="128x64"):
            measure(Pair("small", videos["small"], videos["source"], videos["small"]), clips)
