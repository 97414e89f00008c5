"""Measure videos with all metrics, in this process or in workers."""

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, cast

import torch

from eval.face_clips import FaceClips
from eval.metric_runner import SetMetricRunner, VideoMetricRunner, build_runner
from eval.metrics.metric import AnyMetric, choose_metrics
from eval.pairs import Pair
from eval.results import VideoRecord
from latentsync.errors import LatentSyncError
from latentsync.executors.base import ERROR, Executor, Failed, FinishedTask, Work
from latentsync.media.probe import probe_video
from latentsync.pipelines.video_maker import FAILED, read_record
from latentsync.storage.temporary_files import remove_leftovers

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


@dataclass(frozen=True)
class MeasuredVideo:
    """A measured video.

    Attributes:
        record: its values.
        num_measured, num_stored: number of metrics measured now, and of those whose results were already stored.
        unusable: reasons by the name of the metric, of metrics that turned out to be unusable for all videos.
    """

    record: VideoRecord
    num_measured: int = 0
    num_stored: int = 0
    unusable: dict[str, str] = field(default_factory=dict)


class VideoMeasurer:
    """Measures videos with all metrics.

    Attributes:
        runners: one for each metric.

    Args:
        metrics: the metrics.
        settings: see `Settings`.
        clips: crops of the videos, open.

    Raises:
        CheckpointError: weights are missing and `settings.is_strict`.
    """

    def __init__(self, metrics: Sequence[AnyMetric], settings: Settings, clips: FaceClips) -> None:
        self.settings = settings
        self.clips = clips
        self.runners = [build_runner(one, clips, settings.cache / "figures", settings.is_strict) for one in metrics]

    def measure(self, pair: Pair) -> MeasuredVideo:
        """Measure a pair; a video whose result is missing or unreadable counts as failed."""
        num_measured, num_stored = self._counts()
        record = measure_video(pair, self.runners, self.clips)
        records = [one.record for one in self.runners]
        unusable = {one.name: one.not_measured for one in records if one.not_measured is not None}
        now_measured, now_stored = self._counts()
        return MeasuredVideo(record, now_measured - num_measured, now_stored - num_stored, unusable)

    def mark_unusable(self, reasons: dict[str, str]) -> None:
        """Set the reasons, by name, of metrics that turned out to be unusable in workers."""
        for runner in self.runners:
            if runner.record.not_measured is None and runner.record.name in reasons:
                runner.record = replace(runner.record, not_measured=reasons[runner.record.name])

    def _counts(self) -> tuple[int, int]:
        return sum(one.num_measured for one in self.runners), sum(one.num_stored for one in self.runners)


def measure_video(pair: Pair, runners: Sequence[AnyRunner], clips: FaceClips) -> VideoRecord:
    """Return one video's values; a video whose result is missing or unreadable counts as failed."""
    record = unmeasured_video(pair, clips)
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for runner in runners:
        if record.error is not None and not (runner.measures_failures and pair.report is not None):
            continue
        found, reason = runner.measure(pair)
        values |= found
        if reason is not None:
            reasons[runner.record.name] = reason
    return replace(record, values=values, not_measured=reasons)


def unmeasured_video(pair: Pair, clips: FaceClips) -> VideoRecord:
    """Return the record of a video before it is measured."""
    error, num_frames = failure_of(pair)
    files = {"result": pair.result, "source": pair.source, "audio": pair.audio, "reference": pair.reference}
    keys = {name: clips.content_key(path) for name, path in files.items() if path is not None and path.is_file()}
    return VideoRecord(pair.protocol, pair.row, pair.name, keys, error, num_frames)


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


NumberedPair = tuple[int, Pair]
"""A pair with its place in the list, from 0."""
FinishedPair = FinishedTask[NumberedPair, MeasuredVideo]


@dataclass(frozen=True)
class MeasureWork(Work[NumberedPair, MeasuredVideo]):
    """Work of the workers of an evaluation; each loads its own networks.

    Attributes:
        metrics: names of the metrics.
        settings: see `Settings`.
        detector: name of the face detector.
        resolution: side of the crops in pixels.
        folder: working folder of the command, to which paths are relative.
    """

    metrics: tuple[str, ...]
    settings: Settings
    detector: str
    resolution: int
    folder: str

    one_per_machine: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of logs."""
        return "evaluation"

    @property
    def title(self) -> str:
        """Name in messages."""
        return "the evaluation"

    @property
    def uses_device(self) -> bool:
        """True unless the CPU was chosen."""
        return self.settings.device.type != "cpu"

    def load(self, device: torch.device) -> Callable[[NumberedPair], MeasuredVideo]:
        """Return the function of one pair."""
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        os.chdir(self.folder)
        settings = replace(self.settings, device=device)
        clips = FaceClips(settings.cache, device, self.detector, self.resolution)
        measurer = VideoMeasurer(choose_metrics(",".join(self.metrics)), settings, clips)
        return lambda numbered: measurer.measure(numbered[1])


def measure_all(
    pairs: Sequence[Pair], measurer: VideoMeasurer, executor: Executor | None
) -> Generator[tuple[int, MeasuredVideo], None, None]:
    """Yield every measured video with its place in the list.

    Args:
        pairs: the videos.
        measurer: measures in this process if there is no executor.
        executor: measures in workers, which are stopped when the returned generator is closed.

    Raises:
        LatentSyncError: the weights of a metric are damaged and `Settings.is_strict`, or no worker can be started.
    """
    if executor is None:
        yield from ((index, measurer.measure(pair)) for index, pair in enumerate(pairs))
        return
    names = tuple(one.record.name for one in measurer.runners)
    work = MeasureWork(names, measurer.settings, measurer.clips.detector_name, measurer.clips.resolution, os.getcwd())
    finished_pairs = cast(Generator[FinishedPair, None, None], executor.run(work, enumerate(pairs)))
    try:
        with closing(finished_pairs):
            for finished in finished_pairs:
                yield finished.task[0], _measured(finished, measurer)
    finally:
        remove_leftovers(Path(tempfile.gettempdir()))  # the workers' crops


def _measured(finished: FinishedPair, measurer: VideoMeasurer) -> MeasuredVideo:
    """Return the measured video; no metric is measured if its worker died or exceeded a limit."""
    (_, pair), result = finished.task, finished.result
    if not isinstance(result, Failed):
        return result
    if result.reason == ERROR:  # `VideoMeasurer.measure` raises only if nothing can be measured
        raise LatentSyncError(f"a worker failed: {result.detail}")
    names = [one.record.name for one in measurer.runners]
    reasons = dict.fromkeys(names, f"{result.reason}: {result.detail}")
    return MeasuredVideo(replace(unmeasured_video(pair, measurer.clips), not_measured=reasons))
