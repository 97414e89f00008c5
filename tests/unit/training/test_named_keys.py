"""Every key that an error message names can be set by that name on the command line."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from demo.training.demo_network import DemoDataConfig
from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun

DOTTED = re.compile(r"(?<![\w./])[a-z_]+(?:\.[a-z_]+)+(?![\w/(])")
SOURCES = ("training", "losses", "recipes", "data", "models")
BAD_VALUES = (
    "max_steps=0", "batch_size=0", "gradient_accumulation=0", "log_every=0", "keep_last=0", "seed=-1", "num_workers=-1",
    "validate_every=-1", "save_every=-1", "mixed_precision=fp8", "max_grad_norm=0", "ema_decay=1", "num_threads=0",
    "optimizer.name=sgd", "optimizer.lr=0", "optimizer.matrix_lr=0", "optimizer.betas=[1]", "optimizer.momentum=1",
    "optimizer.eps=0", "optimizer.weight_decay=-1", "optimizer.rate_factors={a: 0}",
    "schedule.name=step", "schedule.warmup_steps=-1", "schedule.floor=2", "best_metric.mode=most",
)  # fmt: skip


def keys_of(schema: type, prefix: str = "") -> Iterator[str]:
    """Return the dotted keys of a configuration, including its sections."""
    hints = get_type_hints(schema)
    for one in fields(schema):
        yield prefix + one.name
        hint = hints[one.name]
        for section in (kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)):
            yield from keys_of(section, f"{prefix}{one.name}.")


KEYS = {*keys_of(UNetRun), *keys_of(SyncNetRun), *keys_of(DemoDataConfig, "data.")}
SECTIONS = {key.split(".")[0] for key in KEYS}
SUBSECTIONS = {part for key in KEYS if key.count(".") > 1 for part in key.split(".")[1:2]} | {"trainer"}


@pytest.mark.parametrize("override", BAD_VALUES)
def test_the_trainers_refusals_name_the_key_as_the_command_line_takes_it(override: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "run.yaml", UNetRun, [f"training.{override}"])
    message = str(caught.value).removeprefix(str(tmp_path / "run.yaml"))
    named = set(DOTTED.findall(message))
    assert f"training.{override.split('=')[0]}" in named
    assert named <= KEYS


def literals(path: Path) -> Iterator[str]:
    """Yield the string constants of a source file except docstrings, including fixed parts of f-strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_no_message_in_the_source_names_a_key_that_cannot_be_set(repository: Path) -> None:
    wrong = []
    for folder in (*(repository / "latentsync" / name for name in SOURCES), repository / "demo" / "training"):
        for path in sorted(folder.glob("*.py")):
            for text in literals(path):
                for name in DOTTED.findall(text):
                    if name.split(".")[0] in SECTIONS | SUBSECTIONS and name not in KEYS:
                        wrong.append(f"{path.name}: {name}")
    assert not wrong
