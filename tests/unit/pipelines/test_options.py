import json
from dataclasses import asdict

import pytest
import torch

from latentsync.errors import ConfigError
from latentsync.pipelines.options import PUBLISHED, LipsyncOptions, memory_remedy

CARD, CPU = torch.device("cuda:0"), torch.device("cpu")
LEAST = LipsyncOptions(batch_windows=1, vae_batch_size=1)
SMALL_WEIGHTS = "the 256 px weights (source setup_env.sh --version 1.5)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", 0),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_scale", 0.5),
        ("seed", -1),
        ("deepcache_interval", 0),
        ("overlap_frames", -1),
        ("overlap_frames", 16),
        ("batch_windows", 0),
        ("vae_batch_size", 0),
        ("crf", 52),
        ("scheduler", "euler"),
        ("video_fps", "30"),
        ("timestep_spacing", "linspace"),
        ("max_yaw", 9.5),
        ("max_yaw", 91),
        ("max_yaw", float("nan")),
        ("sync_mode", "stretch"),
        ("silence", "on"),
    ],
)
def test_values_out_of_range_are_rejected_and_named(name: str, value: object):
    with pytest.raises(ConfigError, match=str(value).replace("-", "\\-")):
        LipsyncOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 1.0), (0.0, 1.1), (0.0, float("nan")), (0.5,), ()])
def test_an_interval_that_is_not_within_zero_and_one_is_rejected(interval: tuple[float, float]):
    with pytest.raises(ConfigError, match=r"^guidance_interval is .*between 0 and 1"):
        LipsyncOptions(guidance_interval=interval)


def test_options_survive_a_record():
    options = LipsyncOptions(guidance_interval=(0.0, 0.5))
    assert LipsyncOptions(**json.loads(json.dumps(asdict(options)))) == options


@pytest.mark.parametrize(
    ("name", "value", "text", "published"),
    [
        ("overlap_frames", 4, "4", "0"),
        ("scheduler", "unipc", "unipc", "ddim"),
        ("video_fps", "source", "source", "25"),
        ("sync_mode", "loop", "loop", "bounce"),
        ("silence", "close", "close", "off"),
        ("timestep_spacing", "trailing", "trailing", "leading"),
        ("guidance_interval", (0.0, 0.5), "0 0.5", "0 1"),
    ],
)
def test_a_value_that_contradicts_exact_is_rejected_with_the_published_value(
    name: str, value: object, text: str, published: str
):
    LipsyncOptions(exact=True, **PUBLISHED)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^{name} is {text}, .*exact: use {published}"):
        LipsyncOptions(exact=True, **PUBLISHED | {name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("max_yaw", 30), ("occluder", "auto")])
def test_what_the_published_system_lacks_contradicts_exact(name: str, value: object):
    assert getattr(LipsyncOptions(**{name: value}), name) == value  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^{name} contradicts exact"):
        LipsyncOptions(exact=True, **PUBLISHED | {name: value})  # type: ignore[arg-type]


def test_the_defaults_are_in_range():
    assert LipsyncOptions().overlap_frames < 16


@pytest.mark.parametrize(
    ("device", "dtype", "resolution", "options", "expected"),
    [
        (
            CARD,
            torch.float32,
            512,
            LipsyncOptions(batch_windows=2),
            f"try --batch_size 1, --vae_batch_size 1, --dtype float16 or {SMALL_WEIGHTS}",
        ),
        (CARD, torch.float16, 512, LEAST, f"try {SMALL_WEIGHTS}"),
        (CARD, torch.float16, 256, LEAST, "close other programs that use its memory, or use --device cpu"),
        (CPU, torch.float32, 256, LEAST, "try --dtype bfloat16"),
        (CPU, torch.bfloat16, 256, None, "close other programs that use its memory"),
    ],
)
def test_only_options_that_lower_the_memory_are_named(device, dtype, resolution: int, options, expected: str):
    assert memory_remedy(device, dtype, resolution, options) == expected
