"""The report as Markdown and JSON."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_report.section import MEASURED, SectionResult, Setup
from benchmarks.measurement import markdown_table
from latentsync.device import describe_device, resolve_dtype
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder

NAME = "gpu_report"
_TINY_NOTE = (
    "**Tiny sizes: this run tests every part of the report. Its values are not meaningful for the published sizes.**"
)
_CPU_NOTE = "**No accelerator: everything ran on the CPU.**"


def facts(setup: Setup) -> dict[str, Any]:
    """Return device, sizes and versions of the report."""
    return {
        "device": describe_device(setup.device),
        "kind": setup.device.type,
        "sizes": setup.sizes.name,
        "inference format": str(resolve_dtype("auto", setup.device)).removeprefix("torch."),
        "PyTorch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "Python": platform.python_version(),
        "CPU threads": torch.get_num_threads(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def claim_report(folder: Path) -> None:
    """Claim a folder for reports of an accelerator, before anything is measured.

    Raises:
        InputError: it holds files of other programs, or is not writable.
    """
    claim_folder(folder, "GPU report", "name another --out", _is_of_older_version)


def _is_of_older_version(folder: Path) -> bool:
    """Return True if the folder holds a report of this program or of `benchmarks.published_path`."""
    for name, keys in ((f"{NAME}.json", {"facts", "sections"}), ("published_path.json", {"256", "512"})):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content and content.keys() <= keys:
            return True
    return False


def write_report(folder: Path, setup: Setup, results: Sequence[SectionResult]) -> None:
    """Write `gpu_report.md` and `gpu_report.json` atomically into a claimed folder."""
    known = facts(setup)
    plain = {
        "facts": known,
        "sections": {
            result.section.name: {"seconds": result.seconds, "rows": [asdict(row) for row in result.rows]}
            for result in results
        },
    }
    texts = {f"{NAME}.md": markdown(known, results), f"{NAME}.json": json.dumps(plain, indent=1) + "\n"}
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def markdown(known: dict[str, Any], results: Sequence[SectionResult]) -> str:
    """Return the report as Markdown."""
    notes = [_TINY_NOTE] * (known["sizes"] != "published") + [_CPU_NOTE] * (known["kind"] == "cpu")
    lines = [f"# GPU report: {known['device']}", "", *(f"* {key}: {value}" for key, value in known.items()), ""]
    lines += [text for note in notes for text in (note, "")]
    lines += [text for result in results for text in section_lines(result)]
    return "\n".join(lines)


def section_lines(result: SectionResult) -> list[str]:
    """Return one section: heading, note, table, and the cases without values."""
    measured = [row for row in result.rows if row.status == MEASURED]
    columns = list(dict.fromkeys(key for row in measured for key, value in row.values.items() if value is not None))
    lines = [f"## {result.section.title}", "", f"{result.section.note} It took {result.seconds:.0f} s.", ""]
    if measured:
        table = [{"case": row.case, **row.values} for row in measured]
        lines += [markdown_table(["case", *columns], table), ""]
    missing = [f"* {row.status}: {row.case}: {row.reason}" for row in result.rows if row.status != MEASURED]
    return lines + missing + [""] * bool(missing)
