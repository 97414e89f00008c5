"""Weights adapted to one person: the folder that `adapt.sh` writes, checked before it is used."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import CheckpointError, FileError
from latentsync.storage.content_cache import content_key
from latentsync.weights import REPOSITORY_ROOT

PROGRAM = "adaptation"
RECORD, CONFIG, WEIGHTS = "adapt.json", "config.yaml", "latentsync_unet.pt"
LORA_WEIGHTS = "latentsync_lora.safetensors"
"""Low-rank changes of the base weights, which are then needed too."""
DECODER_WEIGHTS = "vae_decoder.safetensors"
"""Weights of the VAE's decoder, if it was trained too."""
_FILES = {CONFIG, WEIGHTS, LORA_WEIGHTS, DECODER_WEIGHTS}
VERSION = 1
"""Raised when the meaning of the record changes."""
_AGAIN = "repeat the line of adapt.sh that made it"


class DamagedAdaptationError(CheckpointError):
    """Files of the folder itself are missing or damaged; the adaptation can write them again."""


@dataclass(frozen=True)
class AdaptedWeights:
    """A finished adaptation.

    Attributes:
        folder: as named by the user.
        record: content of `adapt.json`.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def config(self) -> Path:
        """Configuration of the U-Net for inference."""
        return self.folder / CONFIG

    @property
    def checkpoint(self) -> Path:
        """The adapted U-Net, or the low-rank changes of its base."""
        return self.folder / (LORA_WEIGHTS if self.needs_base else WEIGHTS)

    @property
    def decoder(self) -> Path | None:
        """The adapted weights of the VAE's decoder, or None."""
        return self.folder / DECODER_WEIGHTS if DECODER_WEIGHTS in self.record["files"] else None

    @property
    def needs_base(self) -> bool:
        """True if the weights are changes of the base weights."""
        return _needs_base(self.record["files"])


def read_adapted(folder: Path, root: Path = REPOSITORY_ROOT) -> AdaptedWeights:
    """Read a folder of adapted weights, and check it against the weights that they belong to.

    Args:
        folder: result of `adapt.sh`.
        root: repository, from which relative paths of the record start.

    Raises:
        DamagedAdaptationError: the folder is not a finished adaptation, or is damaged.
        CheckpointError: it belongs to other weights.
    """
    record = _read_record(folder)
    own, belongs = record["files"], record["belongs_to"]
    for name, key in own.items():
        if _key(folder / name) != key:
            raise DamagedAdaptationError(f"{folder / name} is missing or damaged: {_AGAIN}")
    for name, key in belongs.items():
        found = _key(root / name)
        is_unneeded = found is None and name == record["base"] and not _needs_base(own)
        if found != key and not is_unneeded:
            raise CheckpointError(
                f"{folder} was adapted from other weights: {root / name} is missing or has changed since; restore it, "
                "or adapt again with another --out"
            )
    return AdaptedWeights(folder, record)


def _read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a finished adaptation; it names weights, configuration and base.

    Raises:
        DamagedAdaptationError: it is missing or damaged, or of another version.
    """
    path = folder / RECORD
    if not path.is_file():
        why = "is not finished" if (folder / "clips").is_dir() else f"has no {RECORD}"
        raise DamagedAdaptationError(f"{folder} {why}: give a folder that adapt.sh has completed")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version, files, belongs = record["version"], record["files"].keys(), record["belongs_to"].keys()
        is_whole = CONFIG in files and files & {WEIGHTS, LORA_WEIGHTS} and record["base"] in belongs
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedAdaptationError(f"{path} is damaged: {_AGAIN}") from error
    if version != VERSION:
        raise DamagedAdaptationError(f"{path} was written by another version of this program: {_AGAIN}")
    if not is_whole or files - _FILES:
        raise DamagedAdaptationError(f"{path} is damaged: {_AGAIN}")
    return record


def _needs_base(files: Collection[str]) -> bool:
    return LORA_WEIGHTS in files


def _key(path: Path) -> str | None:
    try:
        return content_key(path)
    except FileError:
        return None
