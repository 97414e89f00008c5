"""Makes many videos with one pipeline; a record beside each remembers what made it, so that a stopped run goes on."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latentsync.errors import LatentSyncError
from latentsync.pipelines.report import LipsyncReport
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import cache_key, content_key

logger = logging.getLogger(__name__)

FINISHED, FAILED = "finished", "failed"

Pipeline = Callable[[Path, Path, Path], LipsyncReport]
"""(video, audio, result) -> figures; raises an error where the result cannot be made."""


@dataclass(frozen=True)
class VideoTask:
    """One video to make.

    Attributes:
        video: the person.
        audio: the speech.
        result: where the video goes.
        record: where the JSON record goes.
        labels: further entries of the record, such as a name.
    """

    video: Path
    audio: Path
    result: Path
    record: Path
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a task: why it failed (None where it did not), and whether its video was there already."""

    task: VideoTask
    error: str | None = None
    was_there: bool = False


class VideoMaker:
    """Makes videos and their records.

    A record is a JSON file: the labels, `key` (of the inputs' content and the settings), `status`, `error`, `settings`,
    and for a finished video `figures`. A task whose record says that it is finished with this key is not done again; a
    failed one is tried again. What lay at the place of a result stays until a new one is whole: after a failure the
    record alone says what it is worth.

    Args:
        settings: everything but the inputs that a result depends on, as plain values.
        pipeline: makes one video; asked for only when something is to be made.
        check: raises an error where a task cannot begin.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        pipeline: Callable[[], Pipeline],
        check: Callable[[VideoTask], object] = lambda task: None,
    ) -> None:
        self.settings = settings
        self._check = check
        self._settings_text = json.dumps(settings, sort_keys=True)
        self._pipeline = pipeline

    def make(self, task: VideoTask) -> Outcome:
        """Makes one video, unless it is there; a failure is written down and returned, not raised."""
        if os.path.lexists(task.record) and not is_record(task.record):
            return Outcome(task, f"{task.record} is there already and is no record of ours: move it away")
        try:
            key = cache_key("made", self._settings_text, content_key(task.video), content_key(task.audio))
        except LatentSyncError as error:
            return self._failed(task, None, self._fault(task) or error)
        if _is_finished(task, key):
            return Outcome(task, was_there=True)
        if (fault := self._fault(task)) is not None:
            return self._failed(task, key, fault)
        pipeline = self._pipeline()
        try:
            report = pipeline(task.video, task.audio, task.result)
        except Exception as error:  # whatever befalls one video, the others are still to be made
            return self._failed(task, key, error)
        try:
            self._write_record(task, {"key": key, "status": FINISHED, "error": None, **figures(report)})
        except OSError as error:
            return Outcome(task, f"{task.result} is made, its record {task.record} is not ({error.strerror})")
        return Outcome(task)

    def _fault(self, task: VideoTask) -> LatentSyncError | None:
        try:
            self._check(task)
        except LatentSyncError as error:
            return error
        return None

    def _failed(self, task: VideoTask, key: str | None, error: Exception) -> Outcome:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, LatentSyncError):
            logger.debug("%s failed unexpectedly", task.result.name, exc_info=error)
            reason = f"unexpected {type(error).__name__}: {reason}: a fault of the program, which --debug shows"
        try:
            self._write_record(task, {"key": key, "status": FAILED, "error": reason})
        except (OSError, ValueError) as fault:  # the reason is told all the same
            logger.debug("%s was not written: %s", task.record, fault)
        return Outcome(task, reason)

    def _write_record(self, task: VideoTask, content: dict[str, Any]) -> None:
        content = {**task.labels, **content, "settings": self.settings}
        task.record.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(task.record) as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _is_finished(task: VideoTask, key: str) -> bool:
    record = read_record(task.record)
    is_same = record is not None and record.get("key") == key and record.get("status") == FINISHED
    return is_same and task.result.is_file()


def is_record(path: Path) -> bool:
    """Whether a file is a record that `VideoMaker` wrote."""
    content = read_record(path)
    return content is not None and {"key", "status", "settings"} <= content.keys()


def read_record(path: Path) -> dict[str, Any] | None:
    """What a record says; None where there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def figures(report: LipsyncReport) -> dict[str, Any]:
    """What a run did, as plain values."""
    seconds = report.detection_seconds + report.synthesis_seconds
    return {
        "num_frames": report.num_frames,
        "num_synced": report.num_synced,
        "num_passed_through": report.num_frames - report.num_synced,
        "fps": report.fps,
        "runs": [asdict(run) for run in report.runs],
        "seconds": seconds,
        "detection_seconds": report.detection_seconds,
        "synthesis_seconds": report.synthesis_seconds,
        "frames_per_second": report.num_frames / seconds if seconds > 0 else None,
        "peak_memory_mb": report.peak_memory_mb,
        "peak_device_memory_mb": report.peak_device_memory_mb,
    }
