"""The values of a published configuration by dotted key, and the tables that say what becomes of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentsync.errors import ConfigError


class PublishedValues:
    """Values of a published configuration by dotted key, such as "model.motion_module_kwargs.zero_initialize"."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self._values = dict(_flattened(content))

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def keys(self) -> list[str]:
        """All dotted keys, in the file's order."""
        return list(self._values)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default where the file does not have it."""
        return self._values.get(key, default)

    def require(self, key: str, remedy: str) -> Any:
        """The value of a key that must be there. Raises ConfigError with the remedy."""
        if key not in self._values:
            raise ConfigError(f"{self.path}: {key} is missing: {remedy}")
        return self._values[key]

    def refusal(self, key: str, remedy: str) -> ConfigError:
        """The error for a value that has no equivalent here."""
        return ConfigError(f"{self.path}: {key} is {_shown(self.get(key))}, which has no equivalent here: {remedy}")

    def demand(self, key: str, allowed: Any) -> None:
        """Raise ConfigError unless the key is absent or has the one value that this implementation has."""
        if key in self._values and self._values[key] != allowed:
            raise self.refusal(key, f"write {key.rpartition('.')[2]}: {_shown(allowed)}")


Section = Callable[[PublishedValues], dict[str, Any]]
"""Makes values by our dotted keys for one of our sections."""


@dataclass(frozen=True)
class KeyTable:
    """What becomes of the keys of one kind of published configuration.

    Attributes:
        same_meaning: published key to ours.
        fixed: per section of ours: published keys that may only have one value, the one this implementation has.
        ignored: published keys without a meaning here.
        sections: per section of ours: what is made of the keys that need more than another name.
        handled: published keys that `sections` reads.
    """

    same_meaning: Mapping[str, str]
    fixed: Mapping[str, Mapping[str, Any]]
    ignored: tuple[str, ...]
    sections: Mapping[str, Section]
    handled: tuple[str, ...] = field(default=())

    @property
    def known(self) -> set[str]:
        """All published keys."""
        fixed = {key for keys in self.fixed.values() for key in keys}
        return fixed.union(self.same_meaning, self.ignored, self.handled)


def first_named(values: PublishedValues, *keys: str) -> str | None:
    """The first of some paths that is not empty."""
    return next((str(values.get(key)) for key in keys if values.get(key)), None)


def training_values(values: PublishedValues) -> dict[str, Any]:
    """What both kinds of configuration say of the loop in a way of their own.

    Raises:
        ConfigError: the length of the training is in epochs.
    """
    ours: dict[str, Any] = {}
    if values.get("data.train_output_dir"):
        # Published runs make a folder of their own each; ours resume in theirs, so two stages must not share one.
        ours["training.run_dir"] = f"{values.get('data.train_output_dir')}/{values.path.stem}"
    if "run.max_train_steps" in values:
        if values.get("run.max_train_steps") == -1:
            raise values.refusal("run.max_train_steps", "write the number of steps instead of max_train_epochs")
        ours["training.max_steps"] = values.get("run.max_train_steps")
    if "run.mixed_precision_training" in values:
        ours["training.mixed_precision"] = "auto" if values.get("run.mixed_precision_training") else "no"
    return ours


def _flattened(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            pairs += _flattened(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else str(value)
