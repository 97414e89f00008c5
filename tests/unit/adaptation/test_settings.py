"""Settings of an adaptation: what its clips depend on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentsync.adaptation.settings import AdaptationSettings, check_settings
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.weights import REPOSITORY_ROOT

VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"


@pytest.fixture
def settings(tmp_path: Path) -> AdaptationSettings:
    run = load_config(REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml", AdaptationRun)
    return AdaptationSettings(run, (VIDEO,), tmp_path / "out", torch.device("cpu"))


def test_another_face_is_cut_into_other_clips(settings: AdaptationSettings):
    keys = {one.clips_key(VIDEO) for one in (settings, replace(settings, face="left"), replace(settings, minutes=3))}
    assert len(keys) == 2


def test_an_unknown_source_of_audio_is_refused(settings: AdaptationSettings):
    with pytest.raises(InputError, match="use auto, own, pseudo"):
        check_settings(replace(settings, audio="owm"))
