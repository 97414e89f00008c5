"""Measure every video of a list with every metric, one video at a time, and count failures."""

import json
import platform
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timezone

import numpy as np
import torch
from tqdm import tqdm

import latentsync
from eval.bootstrap import LEVEL, NUM_RESAMPLES
from eval.face_clips import FaceClips
from eval.metric_runner import SetMetricRunner
from eval.metrics.metric import AnyMetric
from eval.pairs import Pair
from eval.results import Making, Results, SetRecord, VideoRecord
from eval.video_measurement import AnyRunner, MeasuredVideo, Settings, VideoMeasurer, measure_all
from latentsync.device import describe_device
from latentsync.executors.base import Executor
from latentsync.media.ffmpeg_tools import ffmpeg_version
from latentsync.pipelines.video_maker import FINISHED, read_record


def evaluate(
    pairs: Sequence[Pair],
    metrics: Sequence[AnyMetric],
    settings: Settings,
    clips: FaceClips,
    executor: Executor | None = None,
) -> Results:
    """Measure all pairs; results stored by an earlier run are not measured again.

    Args:
        pairs: the videos.
        metrics: the metrics.
        settings: see `Settings`.
        clips: crops of the videos, open.
        executor: measures the videos in workers; None: in this process.

    Raises:
        CheckpointError: weights are missing and `settings.is_strict`.
        InputError: the cache is not writable.
    """
    started, clock = datetime.now(timezone.utc), time.monotonic()
    measurer = VideoMeasurer(metrics, settings, clips)
    measured: dict[int, MeasuredVideo] = {}
    with closing(measure_all(pairs, measurer, executor)) as ended:
        for index, video in tqdm(ended, total=len(pairs), disable=None, unit="video"):
            measured[index] = video
            measurer.mark_unusable(video.unusable)
    ordered = [measured[index] for index in range(len(pairs))]
    videos = [one.record for one in ordered]
    num_frames = sum(one.record.num_frames for one in ordered if one.num_measured)
    sets = measure_sets(pairs, videos, measurer.runners)
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
        "num_measured": sum(one.num_measured for one in ordered),
        "num_kept": sum(one.num_stored for one in ordered),
        "versions": versions(),
    }
    return Results(run, [one.record for one in measurer.runners], videos, sets, makings(pairs))


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
