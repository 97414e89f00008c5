"""Measure every video of a list with every metric, one video at a time, and count failures."""

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import latentsync
from eval.bootstrap import LEVEL, NUM_RESAMPLES
from eval.face_clips import FaceClips
from eval.metric_runner import SetMetricRunner, VideoMetricRunner, build_runner
from eval.metrics.metric import AnyMetric
from eval.pairs import Pair
from eval.results import Making, Results, SetRecord, VideoRecord
from latentsync.device import describe_device
from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg_tools import ffmpeg_version
from latentsync.media.probe import probe_video
from latentsync.pipelines.video_maker import FAILED, FINISHED, read_record

AnyRunner = VideoMetricRunner | SetMetricRunner


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    Attributes:
        cache: folder of results stored between runs; nothing in it depends on file names.
        device: device of the metrics' networks.
        seed: of the bootstrap.
        is_strict: True if missing weights are an error.
    """

    cache: Path
    device: torch.device
    seed: int = 0
    is_strict: bool = False


def evaluate(pairs: Sequence[Pair], metrics: Sequence[AnyMetric], settings: Settings, clips: FaceClips) -> Results:
    """Measure all pairs; results stored by an earlier run are not measured again.

    Args:
        pairs: the videos.
        metrics: the metrics.
        settings: see `Settings`.
        clips: crops of the videos, open.

    Raises:
        CheckpointError: weights are missing and `settings.is_strict`.
        InputError: the cache is not writable.
    """
    started, clock = datetime.now(timezone.utc), time.monotonic()
    runners = [build_runner(one, clips, settings.cache / "figures", settings.is_strict) for one in metrics]
    videos, num_frames = [], 0
    for pair in tqdm(pairs, disable=None, unit="video"):
        before = sum(one.num_measured for one in runners)
        videos.append(measure_video(pair, runners, clips))
        is_new = sum(one.num_measured for one in runners) > before
        num_frames += videos[-1].num_frames * is_new
    sets = measure_sets(pairs, videos, runners)
    seconds = time.monotonic() - clock
    run = {
        "seed": settings.seed,
        "interval": f"{LEVEL:.0%} percentile bootstrap over videos, {NUM_RESAMPLES} resamplings",
        "device": describe_device(settings.device),
        "detector": clips.detector_name,
        "crop_resolution": clips.resolution,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(seconds, 2),
        "frames_per_second": round(num_frames / seconds, 3) if num_frames else None,
        "num_measured": sum(one.num_measured for one in runners),
        "num_kept": sum(one.num_stored for one in runners),
        "versions": versions(),
    }
    return Results(run, [one.record for one in runners], videos, sets, makings(pairs))


def measure_video(pair: Pair, runners: Sequence[AnyRunner], clips: FaceClips) -> VideoRecord:
    """Return one video's values; a video whose result is missing or unreadable counts as failed."""
    error, num_frames = failure_of(pair)
    files = {"result": pair.result, "source": pair.source, "audio": pair.audio, "reference": pair.reference}
    keys = {name: clips.content_key(path) for name, path in files.items() if path is not None and path.is_file()}
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for runner in runners:
        if error is not None and not (runner.measures_failures and pair.report is not None):
            continue
        found, reason = runner.measure(pair)
        values |= found
        if reason is not None:
            reasons[runner.record.name] = reason
    return VideoRecord(pair.protocol, pair.row, pair.name, keys, error, num_frames, values, reasons)


def failure_of(pair: Pair) -> tuple[str | None, int]:
    """Return the reason why a pair counts as failed (None if it does not), and the number of frames of its result."""
    record = read_record(pair.report) if pair.report is not None else None
    reason = record.get("error") if record is not None and record.get("status") == FAILED else None
    if reason or not pair.result.is_file():  # the result of an earlier run may still exist
        return f"there is no result{f': {reason}' if reason else ''}", 0
    for path in (pair.source, pair.audio, pair.reference):
        if path is not None and not path.is_file():
            return f"{path.name}, which the result is compared with, is missing", 0
    try:
        return None, probe_video(pair.result).num_frames_estimate
    except LatentSyncError as error:
        return str(error), 0


def measure_sets(pairs: Sequence[Pair], videos: Sequence[VideoRecord], runners: Sequence[AnyRunner]) -> list[SetRecord]:
    """Return the values of every set metric on every row, over the videos that did not fail."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair, video in zip(pairs, videos, strict=True):
        group = groups.setdefault((pair.protocol, pair.row), [])
        if video.error is None:
            group.append(pair)
    chosen = [one for one in runners if isinstance(one, SetMetricRunner)]
    return [one.values_of(*group, members) for one in chosen for group, members in groups.items()]


def makings(pairs: Sequence[Pair]) -> list[Making]:
    """Return how the videos were generated, one entry for each combination of row and settings."""
    found: dict[tuple[str, str, str], tuple[int, int, float]] = {}
    for pair in pairs:
        record = None if pair.report is None else read_record(pair.report)
        if record is None or record.get("status") != FINISHED:
            continue
        key = (pair.protocol, pair.row, json.dumps(record.get("settings", {}), sort_keys=True))
        num_videos, num_frames, seconds = found.get(key, (0, 0, 0.0))
        found[key] = (num_videos + 1, num_frames + record.get("num_frames", 0), seconds + record.get("seconds", 0.0))
    return [
        Making(protocol, row, *counts, settings=json.loads(text)) for (protocol, row, text), counts in found.items()
    ]


def versions() -> dict[str, str]:
    """Return the versions of programs and packages that the values may depend on."""
    return {
        "latentsync": latentsync.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "ffmpeg": ffmpeg_version(),
    }
