"""The report of an adaptation, and the choice of the guidance scale."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentsync.adaptation.audio_choice import LipAgreement
from latentsync.adaptation.mouth_check import CheckResult
from latentsync.adaptation.mouth_metrics import MouthMetrics
from latentsync.adaptation.report import AdaptationReport, TrainedPart, choose_guidance
from latentsync.recipes.adapted_weights import DamagedAdaptationError
from latentsync.training.checkpointing import Progress

AGREEMENT = LipAgreement(0.8, 1)


def result(opening: float, scale: float = 1.5, psnr_db: float = 20.0) -> CheckResult:
    own = MouthMetrics(0.9, 0.9, 1.0, 1.0, 1.0, psnr_db, 0.7)
    voices = {
        f"voice {k}": MouthMetrics(opening + shift, 0.8, 0.9, 1.0, 1.0, leak=0.1) for k, shift in enumerate((-0.1, 0.1))
    }
    return CheckResult(scale, {"own": own, **voices}, {}, frozenset({"own"}))


def report(before: CheckResult, after: CheckResult) -> AdaptationReport:
    return AdaptationReport.of(before, after, ("own", AGREEMENT), 0.04, TrainedPart(300, 10.0), 12.0)


def test_the_first_guidance_scale_that_keeps_the_opening_is_chosen():
    openings = {1.5: 0.7, 2.0: 0.88, 3.0: 0.95}
    asked = []

    def check(scale: float) -> CheckResult:
        asked.append(scale)
        return result(openings[scale], scale)

    chosen = choose_guidance(result(0.9), [1.5, 2.0, 3.0], check, margin=0.04)
    assert (chosen.guidance_scale, asked) == (2.0, [1.5, 2.0])
    assert choose_guidance(result(1.5), [1.5, 2.0, 3.0], check, margin=0.04).guidance_scale == 3.0
    openings[3.0] = 0.89
    assert choose_guidance(result(1.5), [1.5, 2.0, 3.0], check, margin=0.04).guidance_scale == 2.0


def test_a_loss_is_said_in_words():
    good = "\n".join(report(result(0.9), result(0.88, psnr_db=22.0)).lines())
    assert "warning" not in good
    assert "20.0 dB before, 22.0 dB after" in good
    assert "opening with foreign speech: 0.90 before, 0.88 after" in good
    assert "correlation 0.80 at an offset of 1 frame)" in good
    bad = "\n".join(report(result(0.9), result(0.7, 3.0, psnr_db=19.0)).lines())
    assert "follows foreign speech less than before, by 0.20" in bad
    assert "not closer to the person" in bad
    assert "follows speech better at guidance 3 than at 1.5" in bad


def test_a_training_that_was_ended_early_says_how_much_of_its_plan_is_done():
    progress = Progress(global_step=30, seconds=90)
    assert str(TrainedPart.of(progress, 1.5, None)) == "30 steps in 1.5 minutes"
    assert str(TrainedPart.of(progress, 10, None)) == "30 steps in 1.5 of 10 planned minutes"
    assert str(TrainedPart.of(progress, 10, 30)) == "30 steps in 1.5 minutes"
    assert str(TrainedPart.of(progress, 10, 40)) == "30 of 40 planned steps in 1.5 minutes"


def test_a_stored_report_is_the_same(tmp_path: Path):
    first = report(result(0.9), result(0.88, psnr_db=22.0))
    again = AdaptationReport.from_record({"report": json.loads(json.dumps(first.values()))})
    assert again.lines() == first.lines()
    for damaged in ({}, {"report": None}, {"report": {"agreement": 1}}):
        with pytest.raises(DamagedAdaptationError, match="damaged: adapt again"):
            AdaptationReport.from_record(damaged)
    rows = [np.zeros((8, 16, 16, 3), np.uint8)] * 3
    again.write(tmp_path, rows)
    text = (tmp_path / "report.md").read_text()
    assert "| structural similarity, likewise | 0.700 | 0.700 |" in text
    assert (tmp_path / "report.png").is_file()
