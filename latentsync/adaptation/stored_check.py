"""Keep the result of a check in a file, so that a resumed adaptation does not repeat it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentsync.adaptation.mouth_check import CheckResult
from latentsync.adaptation.mouth_metrics import MouthMetrics
from latentsync.storage.output_file import atomic_output


def stored_check(path: Path, key: str, check: Callable[[], CheckResult]) -> CheckResult:
    """Return the stored result of a check; one that is missing, damaged or of another key is made and stored.

    Args:
        path: the file: the shown crops as safetensors, everything else in its header.
        key: hash of everything that the result depends on.
        check: makes the result.

    Raises:
        InputError: the file cannot be written.
    """
    stored = _read(path, key)
    if stored is not None:
        return stored
    result = check()
    videos = {name: asdict(metrics) for name, metrics in result.videos.items()}
    values = {"guidance_scale": result.guidance_scale, "videos": videos, "own": sorted(result.own)}
    with atomic_output(path) as beside:
        save_file(dict(result.shown), beside, {"key": key, "values": json.dumps(values)})
    return result


def _read(path: Path, key: str) -> CheckResult | None:
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            if header.get("key") != key:
                return None
            values = json.loads(header["values"])
            shown = {name: file.get_tensor(name) for name in values["videos"]}
        videos = {name: MouthMetrics(**metrics) for name, metrics in values["videos"].items()}
        return CheckResult(values["guidance_scale"], videos, shown, frozenset(values["own"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
