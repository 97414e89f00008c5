"""Every file of eval/metrics is found, states what it must, and is a command."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

import eval.metrics
from eval.metrics import metric as registry
from eval.metrics.command import run_command
from eval.metrics.lpips import METRIC as LPIPS
from eval.metrics.metric import (
    Metric,
    Quantity,
    SetMetric,
    all_metrics,
    choose_metrics,
    missing_weights,
    not_measured_line,
)
from eval.metrics.synced import METRIC as SYNCED
from eval.metrics.synced import frame_shares
from latentsync.errors import InputError, NotMeasured
from tests.unit.eval.made_clips import MadeClips, pair_of

EXPECTED = {
    *("csim", "fid", "flicker", "fvd", "hyperiqa", "lmd", "lpips", "mouth_reader", "outside", "psnr", "silence"),
    *("ssim", "stable_sync", "stable_sync_published", "sync", "synced", "vae_distance"),
}


def test_every_metric_states_what_it_is():
    metrics = all_metrics()
    assert set(metrics) >= EXPECTED
    for metric in metrics.values():
        assert isinstance(metric, Metric) != isinstance(metric, SetMetric)
        assert metric.quantities
        assert metric.description
        assert metric.protocol
        for quantity in metric.quantities:
            assert set(quantity.needs) <= {"source", "reference", "report"}
            assert quantity.description
    assert isinstance(metrics["fid"], SetMetric)


def test_metrics_are_chosen_by_name():
    assert [one.name for one in choose_metrics("ssim, psnr,ssim")] == ["ssim", "psnr"]
    assert len(choose_metrics("all")) == len(all_metrics())
    for text, reason in {"ssim,sim": "unknown metric 'sim'", " ": "no metric is named"}.items():
        with pytest.raises(InputError, match=reason):
            choose_metrics(text)


def test_a_new_file_is_a_new_metric_and_names_must_differ(tmp_path, monkeypatch):
    class Mine(Metric):
        name, description, protocol = "mine", "d", "p"
        quantities = (Quantity("psnr", "", None, "taken"),)

        def load(self, device):
            return lambda pair, clips: {}

    module = ModuleType("eval.metrics.mine")
    module.METRIC = Mine()
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setattr(eval.metrics, "__path__", [*eval.metrics.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "eval.metrics.mine", module)
    with pytest.raises(ValueError, match="'psnr'"):
        registry.all_metrics()
    Mine.quantities = (Quantity("mine", "", None, "free"),)
    assert registry.all_metrics()["mine"] is module.METRIC


def test_missing_weights_are_named(tmp_path):
    metric = replace(LPIPS, files=(tmp_path / "vgg.pth",))
    assert not_measured_line(metric) == f"not measured: file {tmp_path / 'vgg.pth'} missing"
    (tmp_path / "vgg.pth").write_bytes(b"x")
    assert missing_weights(metric) == []
    assert not_measured_line(metric) is None


def record(path, **content):
    path.write_text(json.dumps(content))
    return path


def test_shares_of_frames(tmp_path):
    path = tmp_path / "record.json"
    finished = frame_shares(record(path, status="finished", num_frames=8, num_synced=6))
    assert finished == {"frames_synced": 0.75, "frames_passed": 0.25, "frames_failed": 0}
    assert frame_shares(record(path, status="failed", error="no face"))["frames_failed"] == 1
    for content in ({"num_frames": 8}, {"status": "finished", "num_frames": 3, "num_synced": 4}):
        with pytest.raises(InputError, match="no record"):
            frame_shares(record(path, **content))
    path.write_text("{")
    with pytest.raises(InputError, match="no record"):
        frame_shares(path)
    with pytest.raises(InputError, match="cannot be read"):
        frame_shares(tmp_path / "none.json")
    with pytest.raises(NotMeasured, match="no record"):
        SYNCED.load(torch.device("cpu"))(pair_of(), MadeClips())


def test_a_metric_is_a_command(tmp_path, capsys):
    report = record(tmp_path / "record.json", status="finished", num_frames=4, num_synced=4)
    assert run_command(SYNCED, ["result.mp4", "--report", str(report), "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["frames_synced"] == 1
    assert printed["units"]["frames_synced"] == ""
    assert run_command(SYNCED, ["result.mp4"]) == 2
    assert run_command(replace(LPIPS, files=(tmp_path / "vgg.pth",)), ["result.mp4", "reference.mp4"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: there is no record of its making"
    assert "vgg.pth missing" in errors[1]
    with pytest.raises(SystemExit) as left:
        run_command(LPIPS, ["--help"])
    assert left.value.code == 0
    assert "LPIPS (VGG-16)" in capsys.readouterr().out
