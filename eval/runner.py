"""Judges every video of a list by every metric, one video at a time, and counts what failed."""

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
from eval.measurer import SetMeasurer, VideoMeasurer, build_measurer
from eval.metrics.metric import AnyMetric, Sample
from eval.pairs import Pair
from eval.results import Making, Results, SetRecord, VideoRecord
from latentsync.device import describe_device
from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg_tools import ffmpeg_version
from latentsync.media.probe import probe_video
from latentsync.pipelines.video_maker import FAILED, FINISHED, read_record


@dataclass(frozen=True)
class Settings:
    """How an evaluation is run.

    Attributes:
        cache: folder for what is kept between runs; nothing in it depends on names of files.
        device: where judges run.
        seed: of the bootstrap.
        is_strict: whether missing weights are an error.
    """

    cache: Path
    device: torch.device
    seed: int = 0
    is_strict: bool = False


def evaluate(pairs: Sequence[Pair], metrics: Sequence[AnyMetric], settings: Settings, clips: FaceClips) -> Results:
    """Measures what is not kept from an earlier run, and puts it together.

    Args:
        pairs: the videos; see `eval.pairs`.
        metrics: by what they are judged.
        settings: see `Settings`.
        clips: crops of the videos, open.

    Raises:
        CheckpointError: weights are missing and `settings.is_strict`.
        InputError: the cache cannot be written.
    """
    started, clock = datetime.now(timezone.utc), time.monotonic()
    measurers = [build_measurer(one, clips, settings.cache / "figures", settings.is_strict) for one in metrics]
    videos, num_frames = [], 0
    for pair in tqdm(pairs, disable=None, unit="video"):
        before = sum(one.num_measured for one in measurers)
        videos.append(judge_video(pair, measurers, clips))
        is_new = sum(one.num_measured for one in measurers) > before
        num_frames += videos[-1].num_frames * is_new
    sets = judge_sets(pairs, videos, measurers)
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
        "num_measured": sum(one.num_measured for one in measurers),
        "num_kept": sum(one.num_kept for one in measurers),
        "versions": versions(),
    }
    return Results(run, [one.record for one in measurers], videos, sets, makings(pairs))


def judge_video(pair: Pair, measurers: Sequence[VideoMeasurer | SetMeasurer], clips: FaceClips) -> VideoRecord:
    """One video's figures; a result that is missing or cannot be read makes it a failed one."""
    sample = sample_of(pair)
    error, num_frames = fault_of(sample)
    files = {"result": pair.result, "source": pair.source, "audio": pair.audio, "reference": pair.reference}
    keys = {name: clips.content_key(path) for name, path in files.items() if path is not None and path.is_file()}
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for measurer in measurers:
        if error is not None and not (measurer.judges_failures and pair.report is not None):
            continue
        found, reason = measurer.measure(sample)
        values |= found
        if reason is not None:
            reasons[measurer.record.name] = reason
    return VideoRecord(pair.protocol, pair.row, pair.name, keys, error, num_frames, values, reasons)


def sample_of(pair: Pair) -> Sample:
    """The pair as metrics see it."""
    return Sample(pair.name, pair.result, pair.source, pair.reference, pair.audio, pair.report)


def fault_of(sample: Sample) -> tuple[str | None, int]:
    """Why a sample counts as failed (None where it does not), and the frames of its result."""
    record = read_record(sample.report) if sample.report is not None else None
    reason = record.get("error") if record is not None and record.get("status") == FAILED else None
    if reason or not sample.result.is_file():  # an older result may lie there still
        return f"there is no result{f': {reason}' if reason else ''}", 0
    for path in (sample.source, sample.audio, sample.reference):
        if path is not None and not path.is_file():
            return f"{path.name}, which it is judged by, is missing", 0
    try:
        return None, probe_video(sample.result).num_frames_estimate
    except LatentSyncError as error:
        return str(error), 0


def judge_sets(
    pairs: Sequence[Pair], videos: Sequence[VideoRecord], measurers: Sequence[VideoMeasurer | SetMeasurer]
) -> list[SetRecord]:
    """Figures of every set metric on every row, of the videos that did not fail."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for pair, video in zip(pairs, videos, strict=True):
        group = groups.setdefault((pair.protocol, pair.row), [])
        if video.error is None:
            group.append(sample_of(pair))
    chosen = [one for one in measurers if isinstance(one, SetMeasurer)]
    return [one.figures_of(*group, samples) for one in chosen for group, samples in groups.items()]


def makings(pairs: Sequence[Pair]) -> list[Making]:
    """How the videos were made, each way of each row once."""
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
    """Versions of what figures may depend on."""
    return {
        "latentsync": latentsync.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "ffmpeg": ffmpeg_version(),
    }
