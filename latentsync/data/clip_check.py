"""Which clips training can use, and why the others are left out."""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

from latentsync.data.clip_facts import ClipFacts, clip_facts
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import content_key

logger = logging.getLogger(__name__)

_NUM_THREADS = 2
"""Clips looked at together: most of the time goes into ffmpeg, once per clip and cache."""
_REASONS_LOGGED = 3
_LOG_EVERY_S = 20.0
_FPS_TOLERANCE = 0.01
"""Between 25 and 24.99 a window of a second slips by half a millisecond."""


@dataclass(frozen=True)
class TrainingClip:
    """A clip that can be used.

    Attributes:
        path: the video.
        num_frames: frames that have both picture and sound (picture alone where sound was not asked for).
        content_key: hash of the file's bytes, its name in the caches.
    """

    path: Path
    num_frames: int
    content_key: str


@dataclass(frozen=True)
class SkippedClip:
    """A clip that cannot be used, and why in a few words."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ClipCheck:
    """What became of a list of clips; both lists in the order of the paths."""

    usable: list[TrainingClip] = field(default_factory=list)
    skipped: list[SkippedClip] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """How often each reason for skipping occurred, the most common first."""
        return dict(Counter(clip.reason for clip in self.skipped).most_common())

    def write_report(self, path: Path) -> None:
        """Write counts, reasons and every skipped clip as JSON; the file appears whole."""
        content = {
            "num_usable": len(self.usable),
            "num_skipped": len(self.skipped),
            "num_usable_frames": sum(clip.num_frames for clip in self.usable),
            "reasons": self.reasons(),
            "skipped": [{"path": str(clip.path), "reason": clip.reason} for clip in self.skipped],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as beside:
            beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_clips(
    paths: Sequence[Path],
    min_frames: int,
    fps: float,
    with_sound: bool = True,
    cache: Path | None = None,
) -> ClipCheck:
    """Look at every clip; broken, short, soundless or unsuitable ones are skipped, never an error of their own.

    Args:
        paths: the clips.
        min_frames: fewer frames than this are too short.
        fps: frames per second a clip must have.
        with_sound: whether a clip needs sound, and only as many frames count as the sound lasts.
        cache: folder that remembers what was found, by content, so that it is looked up once.

    Raises:
        InputError: not a single clip can be used; names the most common reason.
    """
    look = partial(_check, min_frames=min_frames, fps=Fraction(fps), with_sound=with_sound, cache=cache)
    found: list[TrainingClip | SkippedClip] = []
    last_word = time.monotonic()
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for clip in pool.map(look, paths):
            found.append(clip)
            if time.monotonic() - last_word > _LOG_EVERY_S:
                last_word = time.monotonic()
                logger.info("%d of %d clips are checked", len(found), len(paths))
    check = ClipCheck(
        [clip for clip in found if isinstance(clip, TrainingClip)],
        [clip for clip in found if isinstance(clip, SkippedClip)],
    )
    if not check.usable:
        raise InputError(_nothing_usable(check))
    if check.skipped:
        most = [f"{number}x {reason}" for reason, number in list(check.reasons().items())[:_REASONS_LOGGED]]
        logger.warning("%d of %d clips are skipped: %s", len(check.skipped), len(found), "; ".join(most))
    return check


def _check(
    path: Path, min_frames: int, fps: Fraction, with_sound: bool, cache: Path | None
) -> TrainingClip | SkippedClip:
    try:
        key = content_key(path, None if cache is None else cache / "content_keys")
    except InputError as error:
        return SkippedClip(path, str(error).removeprefix(str(path)).split(": ")[0].strip())
    facts = clip_facts(path, key, cache)
    reason = _reason(facts, min_frames, fps, with_sound)
    if reason is not None:
        return SkippedClip(path, reason)
    return TrainingClip(path, facts.frames_with_sound(fps) if with_sound else facts.num_frames, key)


def _reason(facts: ClipFacts, min_frames: int, fps: Fraction, with_sound: bool) -> str | None:
    """Why a clip cannot be used; None where it can."""
    if facts.fault is not None:
        return facts.fault
    if with_sound and facts.num_samples == 0:
        return "has no sound"
    if abs(facts.fps - fps) > _FPS_TOLERANCE:
        return f"has {facts.fps:.5g} frames a second, not {float(fps):g}"
    if facts.width != facts.height:
        return "is not a square face crop"
    if facts.num_frames < min_frames:
        return f"is shorter than {min_frames} frames"
    if with_sound and facts.frames_with_sound(fps) < min_frames:
        return f"has sound for fewer than {min_frames} frames"
    return None


def _nothing_usable(check: ClipCheck) -> str:
    if not check.skipped:
        return "there is no clip to train on: name a folder of clips or a list file"
    reason, number = next(iter(check.reasons().items()))
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(clip.path)) for clip in check.skipped])
    example = next(clip.path.name for clip in check.skipped if clip.reason == reason)
    total = len(check.skipped)
    return (
        f"none of the {total} clips in {folder} can be used ({number} of them, such as {example}: {reason}): "
        "give whole videos of face crops with speech"
    )
