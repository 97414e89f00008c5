"""Keys of settings, of the work of a step on a clip, and of its outputs.

Each key is a hash of everything that decides the result, so equal keys mean equal results. A changed setting gives new
keys to its step and all later steps; after changing it back, the old results are found again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.step import Step

FIRST_CHAIN = "raw"
"""Chain key before the first step."""
KEY_CHARS_IN_NAMES = 8
"""Number of characters of a key in the name of a file."""
_KEY_BYTES = 20


def hash_of(*parts: str) -> str:
    """Return a hash (40 hex digits) of strings; ("ab", "c") and ("a", "bc") differ."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=_KEY_BYTES).hexdigest()


def plain_config(config: Any) -> dict[str, Any]:
    """Return a dataclass of settings as JSON values; paths become strings."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def settings_key(step: Step, weight_keys: Sequence[str]) -> str:
    """Return the key of everything but the clip that decides the results of a step.

    Args:
        step: the step.
        weight_keys: content keys of the step's weights, in the order of `Step.weights`.
    """
    config = json.dumps(plain_config(step.config), sort_keys=True)
    return hash_of("settings", step.name, str(step.version), config, *weight_keys)


def chain_key(before: str, settings: str) -> str:
    """Return the key of all settings up to a step; `before` is the previous step's chain key, or `FIRST_CHAIN`."""
    return hash_of("chain", before, settings)


def record_key(clip_key: str, settings: str) -> str:
    """Return the key of one clip in one step with the settings key `settings`."""
    return hash_of("record", clip_key, settings)


def output_key(record: str, index: int) -> str:
    """Return the key of output number `index` of a record."""
    return hash_of("output", record, str(index))


def input_record_key(reason: str, path: Path) -> str:
    """Return the key of a raw file that no step processes, such as a duplicate; every path has its own."""
    return hash_of("input", reason, str(path))
