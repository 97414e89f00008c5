"""The folder of a report: made, claimed and locked before anything is measured."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.owned_folder import claim_folder, locked

PROGRAM = "evaluation report"
CACHE, DAMAGED, RESULTS = "cache", "damaged", "results.json"
_REMEDY = "name another --out"


@contextmanager
def report_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Claims `options.out` for this run alone and makes the cache; gives the cache's folder.

    Raises:
        InputError: the folder holds what `eval.run` did not make, another run uses it, or it cannot be written to.
    """
    claim_folder(options.out, PROGRAM, _REMEDY, _is_of_older_version)
    cache: Path = options.cache or options.out / CACHE
    with locked(options.out, f"wait for it, or {_REMEDY}"):
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{cache} cannot be written ({error.strerror}): name another --cache") from error
        yield cache


def _is_of_older_version(folder: Path) -> bool:
    """Whether a report lies in it, or only what a run keeps before it writes one."""
    try:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set(os.listdir(folder)) <= {CACHE, DAMAGED}
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "run", "metrics", "videos", "sets", "making"} <= content.keys()
