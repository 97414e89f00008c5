"""What a run did, in figures and in a few lines for a person."""

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from latentsync.device import peak_allocated_bytes
from latentsync.pipelines.timeline import Run

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class LipsyncReport:
    """Figures of one finished run.

    Attributes:
        video: the written file.
        extra_files: what was written beside it.
        num_frames: frames of the result.
        runs: stretches of the result with and without the followed face.
        fps: frames per second of the result.
        detection_seconds, synthesis_seconds: wall-clock time of the two passes.
        peak_memory_mb: largest resident memory of this process, in MiB.
        peak_device_memory_mb: largest memory on the accelerator, in MiB; None on a CPU.
    """

    video: Path
    extra_files: Sequence[Path]
    num_frames: int
    runs: Sequence[Run]
    fps: float
    detection_seconds: float
    synthesis_seconds: float
    peak_memory_mb: float
    peak_device_memory_mb: float | None

    @property
    def num_synced(self) -> int:
        """Frames whose lips were repainted."""
        return sum(len(run) for run in self.runs if run.has_face)

    def lines(self) -> list[str]:
        """The report for a person to read."""
        seconds = self.detection_seconds + self.synthesis_seconds
        memory = f"{self.peak_memory_mb:.0f} MiB"
        if self.peak_device_memory_mb is not None:
            memory += f" ({self.peak_device_memory_mb:.0f} MiB on the device)"
        lines = [
            f"wrote {self.video}" + "".join(f", {path}" for path in self.extra_files),
            f"{self.num_frames} frames, {self.num_synced} synced, {self.num_frames - self.num_synced} left alone; "
            f"{seconds:.1f} s ({self.detection_seconds:.1f} s to find the face), "
            f"{self.num_frames / seconds:.2f} frames per second; peak memory {memory}",
        ]
        left_alone = [self._stretch(run) for run in self.runs if not run.has_face]
        if left_alone:
            lines.append("left alone, the followed face is not there: " + ", ".join(left_alone))
        return lines

    def _stretch(self, run: Run) -> str:
        return f"{run.start / self.fps:.2f}-{run.stop / self.fps:.2f} s"


def peak_memory_mb() -> float:
    """Largest resident memory this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def peak_device_memory_mb(device: torch.device) -> float | None:
    """Largest memory that tensors have taken on an accelerator, in MiB; None where it is not counted."""
    peak = peak_allocated_bytes(device)
    return None if peak is None else peak / MEGABYTE
