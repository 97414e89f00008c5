from dataclasses import dataclass, field
from pathlib import Path

import pytest

from latentsync.config import load_config
from latentsync.errors import ConfigError


@dataclass
class Inner:
    channels: list[int] = field(default_factory=lambda: [1, 2])
    rate: float = 0.5


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    name: str = "plain"

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ValueError("name must not be 'forbidden'")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_says_only_what_differs_from_its_base_and_overrides_win(tmp_path: Path):
    write(tmp_path, "base.yaml", "inner: {channels: [3, 4, 5], rate: 2}\nname: first\n")
    path = write(tmp_path, "variant.yaml", "base: base.yaml\nname: second\n")
    config = load_config(path, Outer, ["inner.rate=0.25"])
    assert config == Outer(Inner([3, 4, 5], 0.25), "second")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("inner: {chanels: [1]}", "chanels"),
        ("inner: {rate: quick}", "quick"),
        ("name: forbidden", "forbidden"),
        ("- a\n- list", "mapping"),
        ("inner: [", "variant.yaml"),
        ("base: variant.yaml", "is circular"),
        ("base: missing.yaml", "missing.yaml"),
    ],
)
def test_a_bad_file_is_one_line_that_names_what_is_wrong(tmp_path: Path, text: str, named: str):
    path = write(tmp_path, "variant.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, Outer)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_override_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="colour"):
        load_config(write(tmp_path, "a.yaml", "name: a"), Outer, ["inner.colour=red"])
