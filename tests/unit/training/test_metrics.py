"""Rows of metrics and their charts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.training.metrics import MetricsLog, draw_charts, history, read_rows, smoothed

PAST = [{"step": 1, "split": "train", "loss": 2.0}, {"step": 2, "split": "train", "loss": 1.5}]


def test_the_past_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*PAST, {"step": 3, "split": "train"}]))
    log = MetricsLog(tmp_path, PAST)
    log.write("validation", 2, {"loss": 1.25, "sync": math.inf})
    expected = [*PAST, {"step": 2, "split": "validation", "loss": 1.25, "sync": None}]
    assert log.rows == expected
    assert read_rows(path) == expected


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(PAST[0]) + "\n" + '{"step": 2, "spl')
    assert read_rows(path) == PAST[:1]
    assert read_rows(tmp_path / "none.jsonl") == []


def test_history_has_a_column_per_split_and_metric() -> None:
    rows = [*PAST, {"step": 2, "split": "validation", "loss": None}, {"step": 3, "split": "train", "rate": 0.1}]
    columns = history(rows)
    assert columns["train_step"] == [1, 2, 3]
    assert columns["train_loss"][:2] == [2.0, 1.5]
    assert math.isnan(columns["train_loss"][2])
    assert math.isnan(columns["validation_loss"][0])
    assert columns["train_rate"][2] == 0.1


def test_a_chart_shows_training_and_validation(tmp_path: Path) -> None:
    rows = [{"step": step, "split": "train", "loss/epsilon": 1.0, "seconds": 1.0} for step in range(60)]
    alone = draw_charts(rows, tmp_path / "alone")
    both = draw_charts([*rows, {"step": 30, "split": "validation", "loss/epsilon": 2.0}], tmp_path / "both")
    assert [path.name for path in both] == ["loss_epsilon.png"]
    pictures = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (alone[0], both[0])]
    orange = [(picture - (255, 127, 14)).__abs__().sum(-1).min() < 30 for picture in pictures]
    assert orange == [False, True]


def test_smoothing_starts_at_the_first_value() -> None:
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0] * 3)
    assert smoothed([0.0, 1.0])[1] == pytest.approx(0.1 / 0.19)
