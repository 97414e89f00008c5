"""Report of a finished lip-sync job: frames, times and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from latentsync.pipelines.windows import FaceInterval

MEGABYTE = 1024 * 1024

Span = tuple[int, int]
"""First frame, and the frame after the last one."""

TURNED_AWAY = "turned away, faded to the source"
COVERED = "covered by another head, faded to the source"
OCCLUDED = "something in front of the mouth, kept from the source"
NO_SPEECH = "no speech"
"""Notes of a person's frames."""

MIN_SILENCE_S = 0.1
"""Shorter parts without speech are not reported: they lie between two hangovers, and the mouth barely moves."""


@dataclass(frozen=True)
class PersonReport:
    """What was done with one person.

    Attributes:
        name: selector or number of the person.
        speech: driving audio.
        intervals: parts of the result with and without a generated mouth.
        spans: further parts (start, stop) of the result, stop excluded, by what they are, such as "turned away"; they
            are named in the report and drawn in the timeline.
    """

    name: str
    speech: Path
    intervals: Sequence[FaceInterval]
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict)

    @property
    def num_synced(self) -> int:
        """Number of frames with a generated mouth."""
        return sum(len(interval) for interval in self.intervals if interval.has_face)

    @property
    def absent(self) -> list[Span]:
        """Parts without the face; those in which it is faded out are not among them."""
        faded = [*self.spans.get(TURNED_AWAY, ()), *self.spans.get(COVERED, ())]
        parts = [(each.start, each.stop) for each in self.intervals if not each.has_face]
        return [part for part in parts if not any(start <= part[0] < stop for start, stop in faded)]

    def values(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "name": self.name,
            "speech": self.speech.name,
            "num_synced": self.num_synced,
            "runs": [asdict(interval) for interval in self.intervals],
            "spans": {what: [list(span) for span in spans] for what, spans in self.spans.items()},
        }


@dataclass(frozen=True)
class LipsyncReport:
    """Report of one finished job.

    Attributes:
        video: the result.
        extra_files: files written beside it.
        num_frames: frames of the result.
        people: what was done with each person.
        fps: frames per second of the result.
        detection_seconds, synthesis_seconds: wall-clock time of the two passes over the video.
        peak_memory_mb: peak resident memory of this process, in MiB.
        peak_device_memory_mb: peak memory on the accelerator, in MiB; None on a CPU.
        recognition: line on how people are recognized; None for one person in one scene.
    """

    video: Path
    extra_files: Sequence[Path]
    num_frames: int
    people: Sequence[PersonReport]
    fps: float
    detection_seconds: float
    synthesis_seconds: float
    peak_memory_mb: float
    peak_device_memory_mb: float | None
    recognition: str | None = None

    @property
    def num_synced(self) -> int:
        """Number of frames with a generated mouth."""
        return sum(len(interval) for interval in self.intervals if interval.has_face)

    @property
    def intervals(self) -> list[FaceInterval]:
        """Parts of the result with a generated mouth, and without one."""
        return join_intervals([person.intervals for person in self.people])

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        seconds = self.detection_seconds + self.synthesis_seconds
        memory = f"{self.peak_memory_mb:.0f} MiB"
        if self.peak_device_memory_mb is not None:
            memory += f" ({self.peak_device_memory_mb:.0f} MiB on the device)"
        lines = [
            f"wrote {self.video}" + "".join(f", {path}" for path in self.extra_files),
            f"{self.num_frames} frames, {self.num_synced} synced, {self.num_frames - self.num_synced} unchanged; "
            f"{seconds:.1f} s ({self.detection_seconds:.1f} s to find the face), "
            f"{self.num_frames / seconds:.2f} frames per second; peak memory {memory}",
        ]
        if self.recognition is not None:
            lines.append(self.recognition)
        for person in self.people:
            name = f"face {person.name} ({person.speech.name}): " if len(self.people) > 1 else ""
            if name:
                lines.append(f"{name}{person.num_synced} of {self.num_frames} frames synced")
            spans = {"unchanged, the followed face is absent": person.absent, **person.spans}
            lines += [f"{name}{what}: {self._seconds(parts)}" for what, parts in spans.items() if parts]
        return lines

    def values(self) -> dict[str, Any]:
        """Return the report as plain values, under the keys of a record (`VideoMaker`)."""
        seconds = self.detection_seconds + self.synthesis_seconds
        return {
            "num_frames": self.num_frames,
            "num_synced": self.num_synced,
            "num_passed_through": self.num_frames - self.num_synced,
            "fps": self.fps,
            "runs": [asdict(interval) for interval in self.intervals],
            "people": [person.values() for person in self.people],
            "recognition": self.recognition,
            "seconds": seconds,
            "detection_seconds": self.detection_seconds,
            "synthesis_seconds": self.synthesis_seconds,
            "frames_per_second": self.num_frames / seconds if seconds > 0 else None,
            "peak_memory_mb": self.peak_memory_mb,
            "peak_device_memory_mb": self.peak_device_memory_mb,
        }

    def _seconds(self, spans: Sequence[Span]) -> str:
        return ", ".join(f"{start / self.fps:.2f}-{stop / self.fps:.2f} s" for start, stop in spans)


def spans_of(flags: Iterable[bool], min_length: float = 1) -> list[Span]:
    """Return the parts (start, stop) of a sequence that are true, stop excluded, and of a length of at least that."""
    spans, start = [], 0
    for flag, group in groupby(flags):
        stop = start + sum(1 for _ in group)
        if flag and stop - start >= min_length:
            spans.append((start, stop))
        start = stop
    return spans


def join_intervals(all_intervals: Sequence[Sequence[FaceInterval]]) -> list[FaceInterval]:
    """Return the intervals of one person, or of several people those with and without any of their faces."""
    if len(all_intervals) == 1:
        return list(all_intervals[0])
    from latentsync.pipelines.windows import FaceInterval  # imports torch, which --help does without

    borders = sorted(
        {border for intervals in all_intervals for each in intervals for border in (each.start, each.stop)}
    )
    joined: list[FaceInterval] = []
    for start, stop in pairwise(borders):
        shown = any(
            each.has_face and each.start <= start < each.stop for intervals in all_intervals for each in intervals
        )
        if joined and joined[-1].has_face == shown:
            start = joined.pop().start
        joined.append(FaceInterval(start, stop, shown))
    return joined


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process, in MiB."""
    try:
        import resource
    except ImportError:  # on Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / MEGABYTE  # type: ignore[attr-defined]  # there only
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def peak_device_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory of tensors on an accelerator, in MiB, or None if the device does not report it."""
    from latentsync.device import peak_allocated_bytes

    peak = peak_allocated_bytes(device)
    return None if peak is None else peak / MEGABYTE
