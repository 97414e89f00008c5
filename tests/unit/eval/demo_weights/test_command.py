import json
import sys

import pytest

from demo.synthetic.clip_set import find_clips
from eval.demo_weights import __main__ as command
from eval.demo_weights.__main__ import Group, evaluate, main
from eval.demo_weights.settings import Evaluation
from latentsync.judges.mouth_reader import MouthReader
from latentsync.models.checkpoint import save_checkpoint
from tests.golden_values import fill_deterministic
from tests.unit.eval.demo_weights.clips import write_clips


@pytest.fixture
def evaluation(tmp_path) -> Evaluation:
    weights = tmp_path / "weights"
    (weights / "vae").mkdir(parents=True)
    for name in ("latentsync_unet.pt", "whisper.pt", "stable_syncnet.pt", "vae/config.json"):
        (weights / name).write_text(name)
    save_checkpoint(weights / "mouth_reader.pt", fill_deterministic(MouthReader()).state_dict(), 0)
    clips = find_clips(write_clips(tmp_path / "clips", 2))
    return Evaluation(clips, weights, weights / "latentsync_unet.pt", tmp_path / "out", tmp_path / "cache")


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Groups that measure nothing but that they were asked."""
    asked: list[str] = []

    def count(name: str) -> dict[str, float]:
        asked.append(name)
        return {"seconds": 1.0 * len(asked)}

    monkeypatch.setitem(command.GROUPS, "syncnet", Group(lambda _: count("syncnet"), Evaluation.syncnet_files))
    monkeypatch.setitem(
        command.GROUPS, "inference", Group(lambda _: count("inference"), Evaluation.weight_files, repeats=True)
    )
    return asked


def test_what_is_measured_is_kept_until_its_weights_change(evaluation, counted):
    evaluate(evaluation, ("syncnet", "inference"))
    evaluate(evaluation, ("syncnet", "inference"))
    assert counted == ["syncnet", "inference", "inference"]
    (evaluation.weights / "stable_syncnet.pt").write_text("others")
    assert set(evaluate(evaluation, ("size",))) == {"size"}
    assert set(evaluate(evaluation, ("syncnet",))) == {"size", "syncnet"}
    assert counted == ["syncnet", "inference", "inference", "syncnet"]


def test_a_named_unet_counts_instead_of_the_bundled_one(evaluation, tmp_path):
    other = tmp_path / "other.pt"
    other.write_bytes(bytes(1000))
    figures = evaluate(
        Evaluation(evaluation.clips, evaluation.weights, other, evaluation.out, evaluation.cache), ("size",)
    )
    rest = sum(path.stat().st_size for path in evaluation.weight_files()[1:])
    assert figures["size"]["bytes"] == 1000 + rest


def test_the_command_writes_figures_and_table(evaluation, tmp_path, monkeypatch, capsys):
    line = ["evaluate", "mouth_reader", "size", "--data", tmp_path / "clips", "--weights", evaluation.weights]
    monkeypatch.setattr(sys, "argv", [*map(str, line), "--out", str(tmp_path / "out"), "--threads", "1"])
    assert main() == 0
    assert "| all demo weights together | <= 20.00 MB |" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert set(stored["mouth_reader"]["figures"]) == {"opening", "width", "opening_worst_clip", "num_clips"}
    assert (tmp_path / "out" / "table.md").read_text().startswith("| what | target |")


@pytest.mark.parametrize(
    ("extra", "message"), [(["--dubs", "-1"], "at least 0"), (["--data", "/nowhere"], "does not exist")]
)
def test_wrong_options_are_one_line(evaluation, tmp_path, monkeypatch, capsys, extra, message):
    line = ["evaluate", "size", "--data", tmp_path / "clips", "--weights", evaluation.weights, "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", [*map(str, line), *extra])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
