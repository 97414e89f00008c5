"""Check which clips training can use, and record why the others are skipped.

Every clip is decoded once in full; the result is cached by content.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

from latentsync.data.video_window import read_video_facts
from latentsync.errors import FileError, InputError
from latentsync.media.audio_samples import SAMPLE_RATE, count_samples_strictly
from latentsync.media.ffmpeg_tools import ToolFailedError
from latentsync.media.probe import probe_streams
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import content_key

logger = logging.getLogger(__name__)

_NUM_THREADS = 2
"""Clips checked at the same time: most of the time is spent in ffmpeg, once per clip and cache."""
_MAX_LOGGED_REASONS = 3
_LOG_EVERY_S = 20.0
_FPS_TOLERANCE = 0.01
"""Between 25 and 24.99 frames per second, audio and video drift apart by half a millisecond per second."""
_FACTS_VERSION = 1
"""Part of the names of cached `ClipFacts`; a change makes all clips be decoded again."""


@dataclass(frozen=True)
class TrainingClip:
    """A clip that training can use.

    Attributes:
        path: the video.
        num_frames: frames with both image and audio (all frames if audio is not required).
        content_key: hash of the file's bytes; names the clip in caches.
    """

    path: Path
    num_frames: int
    content_key: str


@dataclass(frozen=True)
class SkippedClip:
    """A clip that training cannot use, with the reason in a few words."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ClipCheck:
    """Usable and skipped clips, both in the order of the paths."""

    usable: list[TrainingClip] = field(default_factory=list)
    skipped: list[SkippedClip] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """Return the number of skipped clips per reason, the most common first."""
        return dict(Counter(clip.reason for clip in self.skipped).most_common())

    def write_report(self, path: Path) -> None:
        """Write counts, reasons and every skipped clip as JSON, atomically."""
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


@dataclass(frozen=True)
class ClipFacts:
    """Properties of a clip's file.

    Attributes:
        num_frames: frames that can be decoded.
        width, height: size of the frames in pixels.
        fps: average frames per second.
        num_samples: length of the audio at 16 kHz; 0 without audio.
        fault: why the file cannot be used at all, in a few words; None if it can.
    """

    num_frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    num_samples: int = 0
    fault: str | None = None

    def num_frames_with_audio(self, fps: Fraction) -> int:
        """Return the number of leading frames that have audio over their whole duration."""
        return min(self.num_frames, int(self.num_samples * fps / SAMPLE_RATE))


def check_clips(
    paths: Sequence[Path],
    min_frames: int,
    fps: float,
    with_audio: bool = True,
    cache: Path | None = None,
    start: int = 0,
) -> ClipCheck:
    """Check every clip; broken, short, silent or unsuitable ones are skipped and do not raise an error.

    Args:
        paths: the clips.
        min_frames: smallest number of frames of a usable clip.
        fps: frames per second of a usable clip.
        with_audio: require audio; only frames with audio count.
        cache: folder that stores the results by content, so that each clip is decoded once.
        start: index of the clip that is checked first. Processes that share a cache divide the work if each of them
            starts elsewhere: what the others have checked meanwhile is read from the cache.

    Raises:
        InputError: no clip can be used; the message names the most common reason.
    """
    check_one = partial(_check_clip, min_frames=min_frames, fps=Fraction(fps), with_audio=with_audio, cache=cache)
    checked: list[TrainingClip | SkippedClip] = []
    last_log_s = time.monotonic()
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for clip in pool.map(check_one, [*paths[start:], *paths[:start]]):
            checked.append(clip)
            if time.monotonic() - last_log_s > _LOG_EVERY_S:
                last_log_s = time.monotonic()
                logger.info("%d of %d clips are checked", len(checked), len(paths))
    checked = [*checked[len(paths) - start :], *checked[: len(paths) - start]]
    check = ClipCheck(
        [clip for clip in checked if isinstance(clip, TrainingClip)],
        [clip for clip in checked if isinstance(clip, SkippedClip)],
    )
    if not check.usable:
        raise InputError(_describe_nothing_usable(check))
    if check.skipped:
        most = [f"{number}x {reason}" for reason, number in list(check.reasons().items())[:_MAX_LOGGED_REASONS]]
        logger.warning("%d of %d clips are skipped: %s", len(check.skipped), len(checked), "; ".join(most))
    return check


def _check_clip(
    path: Path, min_frames: int, fps: Fraction, with_audio: bool, cache: Path | None
) -> TrainingClip | SkippedClip:
    try:
        key = content_key(path, None if cache is None else cache / "content_keys")
    except FileError as error:
        return SkippedClip(path, error.reason)
    facts = read_clip_facts(path, key, cache)
    reason = _reason_to_skip(facts, min_frames, fps, with_audio)
    if reason is not None:
        return SkippedClip(path, reason)
    return TrainingClip(path, facts.num_frames_with_audio(fps) if with_audio else facts.num_frames, key)


def _reason_to_skip(facts: ClipFacts, min_frames: int, fps: Fraction, with_audio: bool) -> str | None:
    """Return why a clip cannot be used, or None if it can."""
    if facts.fault is not None:
        return facts.fault
    if with_audio and facts.num_samples == 0:
        return "has no audio"
    if abs(facts.fps - fps) > _FPS_TOLERANCE:
        return f"has {facts.fps:.5g} frames per second, not {float(fps):g}"
    if facts.width != facts.height:
        return "is not a square face crop"
    if facts.num_frames < min_frames:
        return f"is shorter than {min_frames} frames"
    if with_audio and facts.num_frames_with_audio(fps) < min_frames:
        return f"has audio for fewer than {min_frames} frames"
    return None


def _describe_nothing_usable(check: ClipCheck) -> str:
    if not check.skipped:
        return "there is no clip to train on: name a folder of clips or a list file"
    reason, number = next(iter(check.reasons().items()))
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(clip.path)) for clip in check.skipped])
    example = next(clip.path.name for clip in check.skipped if clip.reason == reason)
    total = len(check.skipped)
    return (
        f"none of the {total} clips in {folder} can be used ({number} of them, such as {example}: {reason}): "
        "provide complete videos of face crops with speech"
    )


def read_clip_facts(path: Path, key: str, cache: Path | None) -> ClipFacts:
    """Return the properties of a clip, from the cache if stored there. A fault is part of the result, not an error."""
    stored = None if cache is None else cache / "clip_facts" / key[:2] / f"{key}.{_FACTS_VERSION}.json"
    if stored is not None:
        try:
            return ClipFacts(**json.loads(stored.read_text()))
        except (OSError, ValueError, TypeError):
            pass  # not stored yet, or damaged: decode the clip
    try:
        facts = _decode_facts(path)
    except FileError as error:
        facts = ClipFacts(fault=error.reason)
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(stored) as beside:
            beside.write_text(json.dumps(asdict(facts)))
    return facts


def _decode_facts(path: Path) -> ClipFacts:
    if path.stat().st_size > 0:
        _check_container(path)
    video = read_video_facts(path)
    num_samples = count_samples_strictly(path)
    if num_samples is None and count_samples_strictly(path, with_audio=False) is None:
        raise FileError.create(path, "is damaged", "convert it again")
    return ClipFacts(*video, num_samples or 0)


def _check_container(path: Path) -> None:
    """Raise FileError unless ffmpeg reads the file as one of the known containers; decord would open a playlist too."""
    try:
        probe_streams(path)
    except ToolFailedError as error:
        raise FileError.create(path, "cannot be decoded", "check it, or remove it from the list") from error
