"""The settings that the ladder compares: each row is what a user would add to `./inference.sh`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from latentsync.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row of the ladder.

    Attributes:
        name: shown in the table, and given to `--rows`.
        arguments: of `./inference.sh`, besides weights, device and seed.
    """

    name: str
    arguments: tuple[str, ...]


def _preset(name: str) -> Row:
    return Row(f"preset {name}", ("--preset", name))


def _sampled(name: str, steps: int, spacing: str = "trailing", others: str = "") -> Row:
    """Return a row that names its settings of sampling; the others are those of the preset `exact`."""
    sampling = ("--inference_steps", str(steps), "--timestep_spacing", spacing)
    return Row(name, ("--preset", "exact", *sampling, *others.split()))


REFERENCE = _sampled("20 leading", 20, "leading")
"""The published sampling in overlapping windows: all rows are compared with it by default."""

_LATE = "--guidance_interval 0 0.5"
"""Guided at timesteps of at most 500: of two trailing steps, only the second."""

# The first rows are measured first. Rows with equal settings are measured once and share a line of the table. A row
# whose weights are missing, or take other crops, is skipped.
ROWS = (
    REFERENCE,
    _preset("fast"),
    _sampled("8 trailing", 8),
    _sampled("4 trailing", 4),
    _sampled("2 trailing", 2),
    _sampled("1 trailing", 1),
    _sampled("2 trailing, guided late", 2, others=_LATE),
    _preset("balanced"),
    _preset("fastest"),
    _preset("exact"),
    _sampled("2 leading", 2, "leading"),
    Row("fast, tiny VAE", ("--preset", "fast", "--vae", "tiny")),
    _sampled("2 trailing, guided late, no overlap", 2, others=f"{_LATE} --overlap_frames 0"),
    _sampled("1 trailing, no guidance", 1, others="--guidance_scale 1"),
    _sampled("20 leading, DeepCache", 20, "leading", "--enable_deepcache"),
    _sampled("8 leading, dpmsolver++", 8, "leading", "--scheduler dpmsolver++"),
)


def parse_row(text: str) -> Row:
    """Parse ``NAME=ARGUMENTS``, such as ``few steps=--preset fast --inference_ckpt_path a.pt``; raise ValueError."""
    name, separator, arguments = text.partition("=")
    if not name or not separator:
        raise ValueError(f"{text!r} is not NAME=ARGUMENTS")
    return Row(name, tuple(shlex.split(arguments)))


def chosen_rows(names: Sequence[str] | None, reference: str = REFERENCE.name) -> list[Row]:
    """Return the reference, then the named rows (all by default) in the order of `ROWS`.

    Raises:
        InputError: a name is unknown.
    """
    known = {row.name: row for row in ROWS}
    unknown = [name for name in (reference, *(names or ())) if name not in known]
    if unknown:
        raise InputError(f"unknown row {unknown[0]!r}: use {'; '.join(known)}")
    first = known[reference]
    return [first, *(row for row in ROWS if row is not first and (names is None or row.name in names))]
