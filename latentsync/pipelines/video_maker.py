"""Generate many videos with one pipeline; a record beside each result lets a stopped run resume."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentsync.errors import LatentSyncError
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.voices import Voices
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import cache_key, content_key

logger = logging.getLogger(__name__)

FINISHED, FAILED = "finished", "failed"

Pipeline = Callable[[Path, Path | Voices, Path], LipsyncReport]
"""(source video, speech, result) -> report; raises an error if the result cannot be generated."""


@dataclass(frozen=True)
class VideoJob:
    """One video to generate.

    Attributes:
        video: source video.
        audio: driving audio, or the speech of several people.
        result: the video to write.
        record: the JSON record to write.
        labels: further entries of the record, such as a name.
    """

    video: Path
    audio: Path | Voices
    result: Path
    record: Path
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Result of one job.

    Attributes:
        job: the job.
        error: reason of a failure; None after success.
        was_there: True if an earlier run generated the video.
        values: values of the record (`LipsyncReport.values`); empty after a failure.
    """

    job: VideoJob
    error: str | None = None
    was_there: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)


class VideoMaker:
    """Generate videos and their records.

    A record is a JSON file: the labels, `key` (hash of the inputs' content and the settings), `status`, `error`,
    `settings`, and for a finished video the values of its report. A job whose record is finished and has the current
    key is skipped; a failed one is tried again. An existing result stays until a new one is complete; after a failure,
    only the record shows that the result is outdated.

    Args:
        settings: everything except the inputs that affects a result, as plain values.
        pipeline: returns the pipeline; called only if a video must be generated.
        check: raises an error if a job cannot start.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        pipeline: Callable[[], Pipeline],
        check: Callable[[VideoJob], object] = lambda job: None,
    ) -> None:
        self.settings = settings
        self._check = check
        self._settings_text = json.dumps(settings, sort_keys=True)
        self._pipeline = pipeline

    def make(self, job: VideoJob) -> Outcome:
        """Generate one video unless it exists; a failure is recorded and returned, not raised."""
        if os.path.lexists(job.record) and not is_record(job.record):
            return Outcome(job, f"{job.record} exists and is not a record of this program: move it away")
        try:
            key = cache_key("made", self._settings_text, content_key(job.video), *_speech_keys(job.audio))
        except LatentSyncError as error:
            return self._failed(job, None, self._check_error(job) or error)
        if (record := _finished_record(job, key)) is not None:
            return Outcome(job, was_there=True, values=record)
        if (error := self._check_error(job)) is not None:
            return self._failed(job, key, error)
        pipeline = self._pipeline()
        try:
            report = pipeline(job.video, job.audio, job.result)
        except Exception as error:  # an error in one video must not stop the others
            return self._failed(job, key, error)
        values = report.values()
        try:
            self._write_record(job, {"key": key, "status": FINISHED, "error": None, **values})
        except OSError as error:
            return Outcome(job, f"{job.result} was written, but its record {job.record} was not ({error.strerror})")
        return Outcome(job, values=values)

    def record_failure(self, job: VideoJob, reason: str) -> Outcome:
        """Record and return the failure of a job that another process was to make, and that failed with it."""
        if os.path.lexists(job.record) and not is_record(job.record):
            return Outcome(job, reason)
        return self._failed(job, None, LatentSyncError(reason))

    def _check_error(self, job: VideoJob) -> LatentSyncError | None:
        try:
            self._check(job)
        except LatentSyncError as error:
            return error
        return None

    def _failed(self, job: VideoJob, key: str | None, error: Exception) -> Outcome:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, LatentSyncError):
            logger.debug("%s failed unexpectedly", job.result.name, exc_info=error)
            reason = f"unexpected {type(error).__name__}: {reason}: this is a bug, run with --debug for details"
        try:
            self._write_record(job, {"key": key, "status": FAILED, "error": reason})
        except (OSError, ValueError) as fault:  # the outcome still carries the reason
            logger.debug("%s was not written: %s", job.record, fault)
        return Outcome(job, reason)

    def _write_record(self, job: VideoJob, content: dict[str, Any]) -> None:
        content = {**job.labels, **content, "settings": self.settings}
        job.record.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(job.record) as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _speech_keys(audio: Path | Voices) -> list[str]:
    """Return what identifies the speech and the sound of a job."""
    if isinstance(audio, Path):
        return [content_key(audio)]
    keys = [f"{voice.face} {audio.keep_people} {content_key(voice.speech)}" for voice in audio.voices]
    return keys if audio.sound is None else [*keys, f"sound {content_key(audio.sound)}"]


def _finished_record(job: VideoJob, key: str) -> dict[str, Any] | None:
    """Return the record of a finished job with this key, or None if the video must be generated."""
    record = read_record(job.record)
    if record is None or record.get("key") != key or record.get("status") != FINISHED:
        return None
    return record if job.result.is_file() else None


def is_record(path: Path) -> bool:
    """Return True if a file is a record written by `VideoMaker`."""
    content = read_record(path)
    return content is not None and {"key", "status", "settings"} <= content.keys()


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the content of a record, or None if it is missing or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
