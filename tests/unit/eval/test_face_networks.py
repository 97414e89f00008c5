"""LMD, CSIM, hyperIQA and the mouth reader: which frames they measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import eval.metrics.csim as csim
import eval.metrics.hyperiqa as hyperiqa
from eval.metrics.lmd import lmd_with, mouth_distance, tracked_boxes
from eval.metrics.mouth_reader import METRIC as MOUTH_READER
from latentsync.errors import CheckpointError, NotMeasured
from latentsync.face.face_embedding import load_embedding
from tests.unit.eval.made_clips import BOX, MadeClips, clip_of, geometry_of, pair_of, record_of, textured

CPU = torch.device("cpu")


def landmarks(seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(0, 100, (68, 2))
    points[36], points[45] = (10, 40), (60, 40)  # 50 pixels between the outer corners of the eyes
    return points


def test_mouth_distance_is_of_the_shape_and_relative_to_the_eyes():
    theirs = landmarks()
    moved = theirs + np.array([5, -7])
    assert mouth_distance(moved, theirs) == pytest.approx(0, abs=1e-9)
    wider = theirs.copy()
    wider[48:58, 0] += 3
    wider[58:68, 0] -= 3  # all of the 20 points 3 pixels away, their centre where it was: 3 of 50
    assert mouth_distance(wider, theirs) == pytest.approx(6)
    assert mouth_distance(2 * wider, 2 * theirs) == pytest.approx(6)


def test_the_tracked_face_is_distinguished_from_others():
    geometry = geometry_of(3, missing=(1,))
    rows = geometry.rows.copy()
    stranger = rows[:1].copy()
    stranger[:, 1:5] += 200
    stranger[:, 6:] += 200
    boxes = tracked_boxes(type(geometry)(geometry.anchors, np.concatenate([stranger, rows]), geometry.cuts))
    np.testing.assert_allclose(boxes[[0, 2], :4], [BOX, BOX])
    assert np.isnan(boxes[1]).all()


class ToldLandmarks:
    """Every mouth is as wide as the frame is bright."""

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []

    def landmarks(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.boxes.append(boxes)
        points = landmarks()
        points[48:58, 0] += float(frame.mean()) / 10
        points[58:68, 0] -= float(frame.mean()) / 10
        return points[None]


def test_lmd_measures_whole_frames_where_the_source_has_the_face(tmp_path):
    def grey(level):
        return np.full((12, 8, 8, 3), level, np.uint8)

    clips = MadeClips(
        frames={"result": grey(50), "reference": grey(20)}, geometry={"source": geometry_of(7, missing=(3, 5))}
    )
    networks = ToldLandmarks()
    looped = replace(pair_of(), report=record_of(tmp_path, {"options": {"sync_mode": "loop"}}))
    assert lmd_with(networks)(looped, clips) == pytest.approx({"lmd_mouth": 6})
    # frames 0, 5 and 10; frame 5 has no face, and frame 10 shows the source's frame 3, neither (7 frames, looped)
    assert len(networks.boxes) == 2
    nobody = MadeClips(
        frames={"result": grey(1), "reference": grey(1)}, geometry={"source": geometry_of(12, tuple(range(12)))}
    )
    with pytest.raises(NotMeasured, match="no face"):
        lmd_with(networks)(pair_of(), nobody)


class MeanColour(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return images.mean((2, 3))


def test_csim_compares_with_the_source(monkeypatch):
    monkeypatch.setattr(csim, "load_embedding", lambda path, device: MeanColour())
    red, green = np.zeros((11, 64, 64, 3), np.uint8), np.zeros((11, 64, 64, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    measure = replace(csim.METRIC, files=(Path("told"),)).load(CPU)
    same = MadeClips({"result": clip_of(red), "source": clip_of(red)})
    assert measure(pair_of(None), same)["csim"] == pytest.approx(1)
    # frames 0, 5, 10; colours (1, -1, -1) and (-1, 1, -1) have cosine -1/3
    mixed = red.copy()
    mixed[5] = green[5]
    other = MadeClips({"result": clip_of(mixed), "source": clip_of(red)})
    assert measure(pair_of(None), other)["csim"] == pytest.approx((1 + 1 - 1 / 3) / 3, abs=0.01)


def test_a_wrong_embedding_is_refused(tmp_path):
    path = tmp_path / "embedding.pt"
    torch.save({"logits.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="lacks"):
        load_embedding(path)


def test_hyperiqa_measures_three_frames_that_show_the_face(monkeypatch):
    class Brightness(MeanColour):
        def forward(self, images):
            return super().forward(images)[:, 0]

    monkeypatch.setattr(hyperiqa, "load_hyperiqa", lambda path, device: Brightness())
    crops = np.zeros((9, 64, 64, 3), np.uint8)
    crops[[1, 4, 7]] = 255  # of the shown frames 1...7 the first, the middle and the last
    shown = np.array([False] + [True] * 7 + [False])
    measure = replace(hyperiqa.METRIC, files=(Path("told"),)).load(CPU)
    white = (1 - 0.485) / 0.229
    clips = MadeClips({"result": clip_of(crops, shown)})
    assert measure(pair_of(None), clips)["hyperiqa"] == pytest.approx(white, rel=1e-3)


def test_the_mouth_reader_follows_over_time(monkeypatch):
    def opening_is_brightness(reader, crops):
        opening = crops.mean((1, 2, 3)) / 255
        return np.stack([opening, -opening], axis=1)

    monkeypatch.setattr("eval.metrics.mouth_reader.read_mouth", opening_is_brightness)
    level = np.arange(40) * 3
    brighter = np.broadcast_to(level[:, None, None, None], (40, 8, 8, 3)).astype(np.uint8)
    clips = MadeClips({"result": clip_of(brighter[::-1] + np.uint8(3)), "reference": clip_of(brighter)})
    measure = MOUTH_READER.load(CPU)
    values = measure(pair_of(), clips)
    assert values["mouth_opening"] == pytest.approx(-1)
    assert values["mouth_width"] == pytest.approx(-1)
    assert values["mouth_opening_error"] == pytest.approx(np.abs(level[::-1] + 3.0 - level).mean() / 255)
    few = MadeClips({"result": clip_of(textured(9)), "reference": clip_of(textured(9))})
    with pytest.raises(NotMeasured, match="only 9"):
        measure(pair_of(), few)
