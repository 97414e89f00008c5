import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import latentsync
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.pipelines.presets import PRESETS
from latentsync.recipes import load_pipeline as module
from latentsync.recipes.lipsync import LipsyncBuild
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT

DEMO = {"config": str(REPOSITORY_ROOT / DEMO_UNET_CONFIG), "unet": CHECKPOINTS / DEMO_UNET}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[LipsyncBuild]:
    """Return a list that receives the builds, from which no network is loaded."""
    builds: list[LipsyncBuild] = []

    def build(build: LipsyncBuild) -> SimpleNamespace:
        builds.append(build)
        return SimpleNamespace(default_options=None)

    monkeypatch.setattr(module, "build_pipeline", build)
    return builds


def test_the_default_options_are_those_of_the_configurations_preset(built: list[LipsyncBuild]):
    options = module.load_pipeline(**DEMO, device="cpu").default_options
    assert built[0].unet == CHECKPOINTS / DEMO_UNET
    assert (built[0].device.type, built[0].vae, built[0].detector) == ("cpu", "full", "auto")
    assert options.num_inference_steps == PRESETS["fast"].num_inference_steps == 2


def test_a_preset_brings_its_options_and_its_networks(built: list[LipsyncBuild]):
    options = module.load_pipeline(**DEMO, preset="fastest", device="cpu", dtype="float32", detector="mtcnn")
    assert options.default_options.overlap_frames == 0
    assert (built[0].vae, built[0].detector, str(built[0].dtype)) == ("tiny", "mtcnn", "torch.float32")


def test_unusable_choices_are_refused_before_loading(built: list[LipsyncBuild], tmp_path: Path):
    for given, error in (
        ({"config": DEMO["config"]}, InputError),
        ({"adapted": tmp_path}, CheckpointError),
        ({**DEMO, "preset": "slow"}, ConfigError),
        ({**DEMO, "device": "abacus"}, InputError),
    ):
        with pytest.raises(error):
            module.load_pipeline(**given)
    assert built == []


def test_public_names_are_loaded_on_use_and_others_are_unknown():
    assert latentsync.load_pipeline is module.load_pipeline
    assert latentsync.LipsyncOptions().seed == 1247
    assert callable(latentsync.dub_frames)
    with pytest.raises(AttributeError, match="has no attribute 'unknown'"):
        latentsync.unknown  # noqa: B018


def test_importing_the_package_imports_no_heavy_module(repository: Path):
    code = "import sys, latentsync; print([name for name in ('numpy', 'scipy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
