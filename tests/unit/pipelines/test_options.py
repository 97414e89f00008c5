import pytest

from latentsync.errors import ConfigError
from latentsync.pipelines.options import LipsyncOptions


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
    ],
)
def test_values_out_of_range_are_refused_with_the_value_named(name: str, value: object):
    with pytest.raises(ConfigError, match=str(value).replace("-", "\\-")):
        LipsyncOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("overlap_frames", 4), ("scheduler", "unipc"), ("video_fps", "source")])
def test_what_contradicts_exact_is_refused_with_the_published_value(name: str, value: object):
    choices = {"overlap_frames": 0, "scheduler": "ddim", "video_fps": "25"}
    LipsyncOptions(exact=True, **choices)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^{name} is {value}, .*exact: use {choices[name]}"):
        LipsyncOptions(exact=True, **choices | {name: value})  # type: ignore[arg-type]


def test_the_defaults_are_in_range():
    assert LipsyncOptions().overlap_frames < 16
