"""Manifests of a small run of the pipeline, with clip names that contain markup."""

from collections.abc import Mapping
from pathlib import Path

from latentsync.media.ffmpeg_tools import file_url, run_tool
from preprocess.step import Clip, JsonValue
from preprocess.store.keys import FIRST_CHAIN, chain_key
from preprocess.store.manifest import Manifest, manifest_path
from preprocess.store.records import Product, Row, StepRecord

NASTY = "<script>alert('x')</script>|**bold**`_[a](b)_ \u202e\n# Ⅷ 日本"
FOLDERS = {"broken": None, "sync": "av_synced", "quality": "high_visual_quality"}
NUMBERS = {"broken": 1, "sync": 7, "quality": 8}


def make_video(path: Path, seconds: float = 1.0) -> Path:
    """Write a tiny video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"testsrc=size=64x48:rate=25:duration={seconds}"
    run_tool(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", file_url(path)])
    return path


def clip(name: str, path: Path, facts: Mapping[str, JsonValue]) -> Clip:
    return Clip(key=f"key-{name}", source=f"source-{name}", name=name, path=path, facts=facts)


def passed(before: Clip, *outputs: Clip, seconds: float = 1.0) -> Row:
    products = tuple(Product(output, output.path.stat().st_size) for output in outputs)
    return Row(
        f"r-{before.name}", before.key, before.source, before.name, before.path, "done",
        products=products, facts=before.facts, settings="s", seconds=seconds,
    )  # fmt: skip


def refused(before: Clip, reason: str, detail: str, facts: Mapping[str, JsonValue] | None = None) -> Row:
    return Row(
        f"r-{before.name}", before.key, before.source, before.name, before.path, "rejected",
        reason, detail, facts={**before.facts, **(facts or {})}, settings="s", seconds=0.5,
    )  # fmt: skip


def broke(before: Clip, reason: str, detail: str) -> Row:
    return Row(
        f"r-{before.name}", before.key, before.source, before.name, before.path, "failed",
        reason, detail, facts=before.facts, settings="s", seconds=0.25,
    )  # fmt: skip


def write_step(
    root: Path,
    name: str,
    rows: list[Row],
    reasons: Mapping[str, str],
    chain_before: str = FIRST_CHAIN,
    skipped: bool = False,
    finish: bool = True,
) -> str:
    """Write one manifest and return its chain key."""
    chain = chain_key(chain_before, "s")
    with Manifest(manifest_path(root, NUMBERS[name], name), root) as manifest:
        manifest.begin(StepRecord(NUMBERS[name], name, FOLDERS[name], 1, skipped, {"a": 1}, reasons, chain))
        for row in rows:
            manifest.record(row)
        if finish:
            manifest.finish()
    return chain


def write_run(root: Path) -> None:
    """Write a run of four raw clips: one kept to the end, one broken, one out of sync, one failed; step 8 skipped."""
    raw = {name: make_video(root.parent / "raw" / f"{name}.mp4") for name in ("good", "late", "odd")}
    raw["torn"] = root.parent / "raw" / "torn.mp4"
    raw["torn"].write_bytes(b"no video")
    clips = {name: clip(name if name != "late" else NASTY, path, {"duration_s": 36.0}) for name, path in raw.items()}
    rows = [passed(clips[name], clips[name]) for name in ("good", "late", "odd")]
    rows += [refused(clips["torn"], "not_decodable", "ends early")]
    chain = write_step(root, "broken", rows, {"not_decodable": "a stream does not decode"})
    kept = make_video(root / "av_synced" / "ab" / "good-1.mp4")
    make_video(root / "av_synced" / "ab" / "good-0.mp4")  # of older settings
    measured = clip("good", kept, {"num_frames": 900, "offset": -2, "confidence": 6.5})
    rows = [
        passed(clips["good"], measured),
        refused(clips["late"], "out_of_sync", "confidence 1.0 < 3", {"offset": 9, "confidence": 1.0}),
        broke(clips["odd"], "timeout", "took longer than 60 s"),
    ]
    chain = write_step(root, "sync", rows, {"out_of_sync": "picture and sound disagree"}, chain)
    last = clip("good", make_video(root / "high_visual_quality" / "ab" / "good-2.mp4"), measured.facts)
    write_step(root, "quality", [passed(measured, last)], {"low_quality": "looks bad"}, chain, skipped=True)
