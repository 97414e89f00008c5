"""Keys that stand for settings, for the work of a step on a clip, and for what comes of it.

Each key is a hash of what decides the result, so equal keys mean equal results: a changed setting gives new keys to its
step and to every step after it, and going back to the old setting finds the old results again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.step import Step

_KEY_BYTES = 20
FIRST_CHAIN = "raw"
"""The chain before the first step."""


def hash_of(*parts: str) -> str:
    """Hash (40 hex digits) of strings; their borders count."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=_KEY_BYTES).hexdigest()


def plain_config(config: Any) -> dict[str, Any]:
    """A dataclass of settings as what JSON can hold; paths become strings."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def settings_key(step: Step, weight_keys: Sequence[str]) -> str:
    """Key of everything that decides what a step makes of a clip.

    weight_keys: content keys of the step's weights, in the order of `Step.weights`.
    """
    config = json.dumps(plain_config(step.config), sort_keys=True)
    return hash_of("settings", step.name, str(step.version), config, *weight_keys)


def chain_key(before: str, settings: str) -> str:
    """Key of all settings from the first step to this one; `before` is the previous step's (or `FIRST_CHAIN`)."""
    return hash_of("chain", before, settings)


def record_key(clip_key: str, settings: str) -> str:
    """Key of one clip at one step under its settings."""
    return hash_of("record", clip_key, settings)


def output_key(record: str, index: int) -> str:
    """Key of the clip that is a record's output number `index`."""
    return hash_of("output", record, str(index))


def input_record_key(reason: str, path: Path) -> str:
    """Key of a raw file that goes into no step, such as a duplicate: there is one for each path."""
    return hash_of("input", reason, str(path))
