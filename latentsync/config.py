"""Load YAML configurations into typed dataclasses.

The top-level key ``base`` names another YAML, relative to the file, whose values the file overrides. Values are merged
in this order, later ones win: base, file, ``key=value`` overrides. Every key is checked against the dataclass. A YAML
of the published repository is translated first (`latentsync.published_configs`).
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from latentsync.errors import ConfigError, first_line
from latentsync.published_configs.translate import translated

T = TypeVar("T")

_RENAMED_KEYS = {"diffusion.start_share": "diffusion.pure_noise_prob"}
"""Old keys, which files, overrides and run folders of earlier versions may contain, and their present names."""


def load_config(
    path: Path | str, schema: type[T], overrides: Sequence[str] = (), sections: Collection[str] | None = None
) -> T:
    """Load a YAML file as an instance of ``schema``.

    Args:
        path: the YAML file.
        schema: dataclass type; its ``__post_init__`` may check values and raise ValueError.
        overrides: ``section.key=value`` strings, as on a command line.
        sections: top-level keys of this repository to translate from a published configuration; None for all.

    Raises:
        ConfigError: the file is missing or is not YAML, or a key or value does not fit the dataclass.
    """
    path = Path(path)
    try:
        content = read_yaml(path, sections=sections)
        changes = rename_old_keys(OmegaConf.from_dotlist(list(overrides)))
        merged = OmegaConf.merge(OmegaConf.structured(schema), content, changes)
        return cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        raise ConfigError(f"{path}: {f'{key}: ' if key else ''}{first_line(error)}") from error


def rename_old_keys(config: DictConfig) -> DictConfig:
    """Give keys of earlier versions their present names, in place, and return the configuration."""
    for old, new in _RENAMED_KEYS.items():
        section, _, name = old.rpartition(".")
        values = config.get(section)
        if isinstance(values, DictConfig) and name in values:
            values.setdefault(new.rpartition(".")[2], values.pop(name))
    return config


def read_yaml(path: Path, seen: tuple[Path, ...] = (), sections: Collection[str] | None = None) -> DictConfig:
    """Read one file merged over its chain of bases, untyped, with the keys of this repository.

    Args:
        path: the YAML file.
        seen: resolved paths of the files that name this one through their `base`.
        sections: see `load_config`.

    Raises:
        ConfigError: a file is missing or is not a mapping, the chain of bases is circular, or a published configuration
            has a setting without an equivalent here.
    """
    if _resolved(path) in seen:
        raise ConfigError(f"{path}: its chain of `base:` files is circular")
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"cannot read the configuration {path}: it is not a file")
        config = OmegaConf.load(path)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: a configuration must be a mapping of keys to values")
    config = rename_old_keys(translated(config, path, sections))
    base = config.pop("base", None)
    if base is None:
        return config
    below = read_yaml(path.parent / str(base), (*seen, _resolved(path)), sections)
    return cast(DictConfig, OmegaConf.merge(below, config))


def _resolved(path: Path) -> Path:
    """Resolve symbolic links. Raise ConfigError if they are circular or the path is not a valid file name."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {first_line(error)}") from error
