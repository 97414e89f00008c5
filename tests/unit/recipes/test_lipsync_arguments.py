"""Which value wins: a flag over the preset, and the preset over the configuration."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.errors import ConfigError
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.presets import PRESETS
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from latentsync.weights import CHECKPOINTS
from scripts.inference import build_parser

UNET = CHECKPOINTS / "demo" / "latentsync_unet.pt"
FAST = PRESETS["fast"]


@pytest.fixture(params=["", "preset: fast"])
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A configuration with 7 steps, without and with a preset."""
    path = tmp_path / "unet.yaml"
    path.write_text(f"run:\n  inference_steps: 7\n  guidance_scale: 2.5\n  {request.param}\n")
    return path


def parsed(config: Path, *given: str) -> argparse.Namespace:
    files = ("--unet_config_path", str(config), "--inference_ckpt_path", str(UNET))
    return build_parser().parse_args([*files, "--device", "cpu", "--detector", "mtcnn", *given])


def chosen(config: Path, *given: str) -> LipsyncOptions:
    return ChosenPipeline.of(parsed(config, *given)).options


def sampling(options: LipsyncOptions) -> tuple[int, float, str, tuple[float, float], int]:
    spacing, interval = options.timestep_spacing, options.guidance_interval
    return (options.num_inference_steps, options.guidance_scale, spacing, interval, options.overlap_frames)


def test_a_preset_wins_over_the_configuration_and_flags_over_the_preset(config: Path):
    assert sampling(chosen(config, "--preset", "fast")) == (2, 2.5, "trailing", (0.0, 0.5), 4)
    assert sampling(chosen(config, "--preset", "exact")) == (20, 2.5, "leading", (0.0, 1.0), 4)
    flags = ["--inference_steps", "3", "--guidance_scale", "2", "--timestep_spacing", "leading"]
    flags += ["--guidance_interval", "0", "0.7", "--overlap_frames", "6", "--scheduler", "unipc"]
    options = chosen(config, "--preset", "fast", *flags)
    assert sampling(options) == (3, 2.0, "leading", (0.0, 0.7), 6)
    assert options.scheduler == "unipc"


def test_without_a_flag_the_preset_of_the_configuration_is_used_except_with_exact(config: Path):
    is_fast = "preset" in config.read_text()
    expected = (2, 2.5, "trailing", (0.0, 0.5), 4) if is_fast else (7, 2.5, "leading", (0.0, 1.0), 4)
    assert sampling(chosen(config)) == expected
    plain = (7, 2.5, "leading", (0.0, 1.0))
    assert sampling(chosen(config, "--exact")) == (*plain, 0)
    for_evaluation = ChosenPipeline.of(parsed(config), use_default_preset=False)
    assert sampling(for_evaluation.options) == (*plain, 4)


def test_the_choice_is_said(config: Path):
    line = ChosenPipeline.of(parsed(config, "--preset", "fast", "--inference_steps", "4")).describe()
    assert line.endswith("; preset fast: 4 steps, trailing, guidance 2.5 in 0 to 0.5")


def test_exact_rejects_a_fast_preset(config: Path):
    with pytest.raises(ConfigError, match=r"guidance_interval is 0 0\.5, which contradicts exact"):
        chosen(config, "--exact", "--preset", "fast", "--timestep_spacing", "leading")


def test_the_preset_of_a_list_wins_over_that_of_the_command_line(config: Path):
    assert ChosenPipeline.of(parsed(config, "--preset", "exact"), "fast").options == chosen(config, "--preset", "fast")


def test_the_tiny_vae_is_chosen_by_a_flag_or_a_preset(config: Path, monkeypatch: pytest.MonkeyPatch):
    assert ChosenPipeline.of(parsed(config)).build.vae == "full"
    monkeypatch.setitem(PRESETS, "fast", replace(FAST, vae="tiny"))
    assert ChosenPipeline.of(parsed(config, "--preset", "fast")).build.vae == "tiny"
    assert ChosenPipeline.of(parsed(config, "--preset", "fast", "--vae", "full")).build.vae == "full"
    tiny = ChosenPipeline.of(parsed(config, "--vae", "tiny"))
    assert tiny.build.vae == "tiny"
    assert "; tiny VAE; " in tiny.describe()
    with pytest.raises(ConfigError, match="vae is tiny, which contradicts exact"):
        chosen(config, "--exact", "--vae", "tiny")


def test_compilation_is_a_flag_that_exact_rejects(config: Path):
    assert not ChosenPipeline.of(parsed(config)).build.compile
    compiled = ChosenPipeline.of(parsed(config, "--compile"))
    assert compiled.build.compile
    assert "; compiled; " in compiled.describe()
    with pytest.raises(ConfigError, match="compile contradicts exact"):
        chosen(config, "--exact", "--compile")


def test_limits_of_the_yaw_and_masks_are_options_and_masks_are_inputs(config: Path):
    choice = ChosenPipeline.of(parsed(config, "--max_yaw", "35", "--occluder", "masks.mp4"))
    assert (choice.options.max_yaw, choice.options.occluder) == (35, "masks.mp4")
    assert Path("masks.mp4") in choice.files()
    auto = ChosenPipeline.of(parsed(config, "--occluder", "auto"))
    assert (auto.options.max_yaw, auto.options.occluder) == (None, "auto")
    assert auto.files() == ChosenPipeline.of(parsed(config)).files()


def test_an_unknown_preset_of_a_configuration_is_rejected(tmp_path: Path):
    (tmp_path / "unet.yaml").write_text("run: {preset: quick}\n")
    with pytest.raises(ConfigError, match=r"run\.preset: use exact, balanced, fast, fastest, not 'quick'"):
        chosen(tmp_path / "unet.yaml")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str):
    assert LipsyncOptions(**PRESETS[name].options()).describe_sampling()


@pytest.mark.parametrize(("given", "expected"), [((), 1), (("--batch_size", "3"), 3), (("--batch_size", "auto"), None)])
def test_the_number_of_windows_at_once(config: Path, given: tuple[str, ...], expected: int | None):
    assert chosen(config, *given).batch_windows == expected


def test_a_wrong_number_of_windows_at_once_is_refused_in_one_line(config: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parsed(config, "--batch_size", "many")
    assert capsys.readouterr().err == "error: argument --batch_size: invalid batch_size value: 'many' (see --help)\n"


def test_length_and_silence_are_options_that_exact_refuses(config: Path):
    options = chosen(config, "--sync_mode", "freeze", "--silence", "close")
    assert (options.sync_mode, options.silence) == ("freeze", "close")
    assert (chosen(config).sync_mode, chosen(config).silence) == ("bounce", "off")
    for flags in (["--sync_mode", "loop"], ["--silence", "keep"]):
        with pytest.raises(ConfigError, match=f"{flags[0][2:]} is {flags[1]}, which contradicts exact"):
            chosen(config, "--exact", *flags)
