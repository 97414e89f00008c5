"""A check is made once, also by an adaptation that was interrupted."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.adaptation.mouth_check import CheckResult
from latentsync.adaptation.mouth_metrics import MouthMetrics
from latentsync.adaptation.stored_check import stored_check

OWN, FOREIGN = "own speech, held out", "foreign speech, voice_7"


@pytest.fixture
def made() -> list[CheckResult]:
    return []


@pytest.fixture
def check(made: list[CheckResult]):
    def check() -> CheckResult:
        crops = np.random.default_rng(0).integers(256, size=(2, 8, 4, 4, 3), dtype=np.uint8)
        videos = {
            OWN: MouthMetrics(0.9, 0.8, 1.1, 1.2, 1.3, psnr_db=20.25, ssim=0.7),
            FOREIGN: MouthMetrics(0.8, 0.7, 1.0, 1.1, 1.2, leak=-0.1),
        }
        made.append(CheckResult(1.5, videos, dict(zip(videos, crops, strict=True)), frozenset({OWN})))
        return made[-1]

    return check


def test_a_stored_result_is_used_again(tmp_path: Path, check, made: list[CheckResult]):
    path = tmp_path / "check.safetensors"
    assert stored_check(path, "key", check) is made[0]
    again = stored_check(path, "key", check)
    assert len(made) == 1
    assert (again.guidance_scale, again.videos, again.own) == (1.5, made[0].videos, {OWN})
    assert again.summary() == made[0].summary()
    assert list(again.shown) == [OWN, FOREIGN]
    for name, crops in made[0].shown.items():
        np.testing.assert_array_equal(again.shown[name], crops)


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole[:8] + b"x" * 300])
def test_a_result_of_other_settings_or_a_damaged_one_is_made_again(
    tmp_path: Path, check, made: list[CheckResult], damage
):
    path = tmp_path / "check.safetensors"
    stored_check(path, "key", check)
    stored_check(path, "other settings", check)
    assert len(made) == 2
    path.write_bytes(damage(path.read_bytes()))
    stored_check(path, "other settings", check)
    assert len(made) == 3
    stored_check(path, "other settings", check)
    assert len(made) == 3
