"""Translation of a published configuration into the keys of this repository."""

import logging
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentsync.errors import ConfigError
from latentsync.published_configs.key_tables import SYNCNET_KEYS, UNET_KEYS, KeyTable, PublishedValues

logger = logging.getLogger(__name__)

PUBLISHED_SECTIONS = ("ckpt", "optimizer")
"""Sections of published configurations only."""
OWN_SECTIONS = (
    "base", "training", "losses", "diffusion", "audio", "vae", "initial", "trainable", "validation", "pairs",
    "watchdog",
)  # fmt: skip
"""Sections of this repository's configurations only."""
ONLY_PUBLISHED = {
    ".".join(key.split(".")[:2])
    for table in (UNET_KEYS, SYNCNET_KEYS)
    for key in table.known - {*table.same_meaning.values(), "data.audio_sample_rate"}
} - {"model.audio_encoder", "model.visual_encoder"}
"""Keys (section.key) of published configurations only."""


def translated(content: DictConfig, path: Path, sections: Collection[str] | None = None) -> DictConfig:
    """Return a YAML's content in this repository's keys: translated if it is a published one, else unchanged.

    Args:
        content: content of the file.
        path: the file, for messages and for the name of the run folder.
        sections: this repository's top-level sections to translate, such as those that inference reads; None: all.
            Values of other sections are not checked.

    Raises:
        ConfigError: a key is unknown, has a value without an equivalent here, or both kinds of keys are mixed.
    """
    table = _table(content, path)
    if table is None:
        return content
    plain = OmegaConf.to_container(content, resolve=True)
    assert isinstance(plain, dict)
    values = PublishedValues(path, {str(key): value for key, value in plain.items()})
    unknown = [key for key in values.keys if key not in table.known]
    if unknown:
        raise ConfigError(
            f"{path}: {unknown[0]} is not a key of the published configurations: delete it, or give it as key=value "
            "if it is one of this repository's"
        )
    ignored = [key for key in values.keys if key in table.ignored]
    if ignored:
        _warn_once(f"{path}: a published configuration; no meaning here, ignored: {', '.join(ignored)}")
    result = _own_values(values, table, sections)
    nested = OmegaConf.create({})
    for key, value in result.items():
        OmegaConf.update(nested, key, value, force_add=True)
    return nested


def _own_values(values: PublishedValues, table: KeyTable, sections: Collection[str] | None) -> dict[str, Any]:
    def is_wanted(key: str) -> bool:
        return sections is None or key.partition(".")[0] in sections

    result = {own: values.get(key) for key, own in table.same_meaning.items() if key in values and is_wanted(own)}
    for section, fixed in table.fixed.items():
        for key, allowed in fixed.items():
            if is_wanted(section):
                values.demand(key, allowed)
    for section, translate in table.sections.items():
        if is_wanted(section):
            result |= translate(values)
    return result


def _table(content: DictConfig, path: Path) -> KeyTable | None:
    """Return the key table of a published configuration, or None if the file is not a published one."""
    model = content.get("model")
    if not isinstance(model, Mapping):
        return None
    marks = [name for name in PUBLISHED_SECTIONS if name in content]
    for name, section in content.items():
        keys = [f"{name}.{key}" for key in section] if isinstance(section, Mapping) else []
        marks += [key for key in keys if key in ONLY_PUBLISHED]
    if not marks:
        return None
    own = [name for name in OWN_SECTIONS if name in content]
    if own:
        raise ConfigError(
            f"{path} mixes keys of the published configurations ({marks[0]}) with this repository's ({own[0]}): "
            "write a file of one kind, and the rest as key=value or in a file with base:"
        )
    return SYNCNET_KEYS if "visual_encoder" in model or "audio_encoder" in model else UNET_KEYS


@cache
def _warn_once(message: str) -> None:
    """Log a warning once, although a command reads its configuration several times."""
    logger.warning(message)
