"""Reads YAML configurations into typed dataclasses.

A file may name another one under the top-level key ``base`` (relative to itself) and then says only what differs.
Later values win: base, file, ``key=value`` overrides. Every key is checked against the dataclass.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from latentsync.errors import ConfigError

T = TypeVar("T")


def load_config(path: Path | str, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file as an instance of ``schema``.

    Args:
        path: the YAML file.
        schema: dataclass type; its ``__post_init__`` may check values and raise ValueError.
        overrides: ``section.key=value`` strings, as on a command line.

    Raises:
        ConfigError: the file is missing or no YAML, or a key or value does not fit the dataclass.
    """
    path = Path(path)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), read_yaml(path), OmegaConf.from_dotlist(list(overrides)))
        return cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


def read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> DictConfig:
    """Reads one file over its chain of bases, untyped.

    Raises:
        ConfigError: a file is missing, is not a mapping, or the chain of bases goes round.
    """
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its chain of `base:` files goes round")
    try:
        config = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {_first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: a configuration is a mapping of keys to values")
    base = config.pop("base", None)
    if base is None:
        return config
    return cast(DictConfig, OmegaConf.merge(read_yaml(path.parent / str(base), (*seen, path.resolve())), config))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
