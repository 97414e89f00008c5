"""Turns a published configuration into the keys of this repository."""

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
"""Sections that only the published configurations have."""
OWN_SECTIONS = (
    "base", "training", "losses", "diffusion", "audio", "vae", "initial", "trainable", "validation", "pairs",
    "watchdog",
)  # fmt: skip
"""Sections that only the configurations of this repository have."""
ONLY_PUBLISHED = {
    ".".join(key.split(".")[:2])
    for table in (UNET_KEYS, SYNCNET_KEYS)
    for key in table.known - {*table.same_meaning.values(), "data.audio_sample_rate"}
} - {"model.audio_encoder", "model.visual_encoder"}
"""Keys (section.key) that only the published configurations have."""


def translated(content: DictConfig, path: Path, sections: Collection[str] | None = None) -> DictConfig:
    """The content of a YAML in this repository's keys: translated if it is a published one, else unchanged.

    Args:
        content: of the file.
        path: the file, for messages and for the name of the run's folder.
        sections: top-level sections of ours to translate, such as those that inference reads; None is all. What the
            others would refuse does not matter then.

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
            f"{path}: {unknown[0]} is no key of the published configurations: delete it, or give it as key=value "
            "if it is one of this repository's"
        )
    ignored = [key for key in values.keys if key in table.ignored]
    if ignored:
        _warn_once(f"{path}: a published configuration; no meaning here, ignored: {', '.join(ignored)}")
    ours = _own_values(values, table, sections)
    nested = OmegaConf.create({})
    for key, value in ours.items():
        OmegaConf.update(nested, key, value, force_add=True)
    return nested


def _own_values(values: PublishedValues, table: KeyTable, sections: Collection[str] | None) -> dict[str, Any]:
    def is_wanted(key: str) -> bool:
        return sections is None or key.partition(".")[0] in sections

    ours = {own: values.get(key) for key, own in table.same_meaning.items() if key in values and is_wanted(own)}
    for section, fixed in table.fixed.items():
        for key, allowed in fixed.items():
            if is_wanted(section):
                values.demand(key, allowed)
    for section, translate in table.sections.items():
        if is_wanted(section):
            ours |= translate(values)
    return ours


def _table(content: DictConfig, path: Path) -> KeyTable | None:
    """The keys of a published configuration's kind; None if the file is none."""
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
    """A command reads its configuration several times; the message names the file."""
    logger.warning(message)
