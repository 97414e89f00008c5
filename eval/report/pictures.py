"""Draws the pictures of a report into its folder `pictures`: one plot a protocol, one contact sheet a shown video."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from eval.face_clips import FaceClips
from eval.pairs import Pair
from eval.ranking import rankings
from eval.report.plots import draw_protocol
from eval.report.sheets import write_sheet
from eval.results import Results
from eval.runner import sample_of
from latentsync.storage.content_cache import cache_key

FOLDER = "pictures"


@dataclass(frozen=True)
class Pictures:
    """Names of picture files, relative to the report: plots by protocol, sheets by (protocol, row, name)."""

    plots: dict[str, str]
    sheets: dict[tuple[str, str, str], str]


def draw_pictures(results: Results, pairs: Sequence[Pair], clips: FaceClips, out: Path) -> Pictures:
    """Draws the plots, and the sheets of the videos that are the worst or the best of some figure."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    plots = {}
    for protocol in results.protocols():
        name = f"{FOLDER}/plot_{protocol}.png"
        if draw_protocol(results, protocol, out / name):
            plots[protocol] = name
    wanted = {
        video.identity
        for protocol in results.protocols()
        for ranking in rankings(results, protocol)
        for video in (*ranking.worst, *ranking.best)
    }
    sheets = {}
    chosen = [pair for pair in pairs if pair.identity in wanted]
    names = sheet_names([pair.identity for pair in chosen])
    for pair, name in tqdm(list(zip(chosen, names, strict=True)), disable=None, unit="sheet"):
        if write_sheet(sample_of(pair), clips, out / name):
            sheets[pair.identity] = name
    return Pictures(plots, sheets)


def sheet_names(identities: Sequence[tuple[str, str, str]]) -> list[str]:
    """Readable file names relative to the report, all different on any file system."""
    names: list[str] = []
    taken: set[str] = set()
    for identity in identities:
        stem = re.sub(r"[^A-Za-z0-9_.+-]+", "_", "-".join(identity))
        if stem.lower() in taken:
            stem += f"-{cache_key(*identity)[:10]}"
        taken.add(stem.lower())
        names.append(f"{FOLDER}/{stem}.jpg")
    return names
