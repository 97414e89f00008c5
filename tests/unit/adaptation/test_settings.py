"""Settings of an adaptation: what its clips depend on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentsync.adaptation.settings import AdaptationSettings, check_settings
from latentsync.config import load_config
from latentsync.errors import ConfigError, InputError
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


def test_another_length_of_the_training_is_another_adaptation(settings: AdaptationSettings):
    lengths = [settings, replace(settings, minutes=3), replace(settings, num_steps=10), replace(settings, num_steps=3)]
    assert len({one.key for one in lengths}) == 4
    assert replace(settings, minutes=3, num_steps=10).key == replace(settings, num_steps=10).key
    with pytest.raises(InputError, match="--steps 0: use at least 1"):
        check_settings(replace(settings, num_steps=0))


def test_an_unknown_source_of_audio_is_refused(settings: AdaptationSettings):
    with pytest.raises(InputError, match="use auto, both, own, pseudo"):
        check_settings(replace(settings, audio="owm"))


def test_recordings_without_which_an_adaptation_would_fail_later(settings: AdaptationSettings):
    adaptation = settings.run.adaptation

    def changed(**lists: list[str]) -> AdaptationSettings:
        return replace(settings, run=replace(settings.run, adaptation=replace(adaptation, **lists)))

    with pytest.raises(ConfigError, match="check_speech is empty"):
        check_settings(changed(check_speech=[]))
    with pytest.raises(ConfigError, match=r"adaptation\.speech is empty: name recordings with --speech"):
        check_settings(changed(speech=[]))
    check_settings(replace(changed(speech=[]), audio="own"))
    with pytest.raises(ValueError, match=r"guidance_scales lie in \[1, 20\], not \[0.5\]"):
        replace(adaptation, guidance_scales=[0.5])
