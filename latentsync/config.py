"""Reads YAML configurations into typed dataclasses.

A file may name another one under the top-level key ``base`` (relative to itself) and then says only what differs.
Later values win: base, file, ``key=value`` overrides. Every key is checked against the dataclass. A YAML of the
published repository is translated first (`latentsync.published_configs`).
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from latentsync.errors import ConfigError
from latentsync.published_configs.translate import translated

T = TypeVar("T")


def load_config(
    path: Path | str, schema: type[T], overrides: Sequence[str] = (), sections: Collection[str] | None = None
) -> T:
    """Reads a YAML file as an instance of ``schema``.

    Args:
        path: the YAML file.
        schema: dataclass type; its ``__post_init__`` may check values and raise ValueError.
        overrides: ``section.key=value`` strings, as on a command line.
        sections: of a published configuration: the top-level keys of ours that are of interest; None is all.

    Raises:
        ConfigError: the file is missing or no YAML, or a key or value does not fit the dataclass.
    """
    path = Path(path)
    try:
        content = read_yaml(path, sections=sections)
        merged = OmegaConf.merge(OmegaConf.structured(schema), content, OmegaConf.from_dotlist(list(overrides)))
        return cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        raise ConfigError(f"{path}: {f'{key}: ' if key else ''}{_first_line(error)}") from error


def read_yaml(path: Path, seen: tuple[Path, ...] = (), sections: Collection[str] | None = None) -> DictConfig:
    """Reads one file over its chain of bases, untyped, in the keys of this repository.

    Args:
        path: the YAML file.
        seen: the files that lead to it through their `base`.
        sections: see `load_config`.

    Raises:
        ConfigError: a file is missing, is not a mapping, the chain of bases goes round, or a published configuration
            says what has no equivalent here.
    """
    if _resolved(path) in seen:
        raise ConfigError(f"{path}: its chain of `base:` files goes round")
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"cannot read the configuration {path}: it is not a file")
        config = OmegaConf.load(path)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {_first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: a configuration is a mapping of keys to values")
    config = translated(config, path, sections)
    base = config.pop("base", None)
    if base is None:
        return config
    below = read_yaml(path.parent / str(base), (*seen, _resolved(path)), sections)
    return cast(DictConfig, OmegaConf.merge(below, config))


def _resolved(path: Path) -> Path:
    """The path with its links followed. Raises ConfigError where they go round, or it is no name of a file."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
