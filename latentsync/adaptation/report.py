"""Report of an adaptation: metrics before and after, the guidance scale, and what they mean in a few sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.adaptation.audio_choice import LipAgreement
from latentsync.adaptation.mouth_check import CheckResult
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.recipes.adapted_weights import RECORD, DamagedAdaptationError
from latentsync.storage.output_file import atomic_output
from latentsync.training.checkpointing import Progress

MARKDOWN, SHEET = "report.md", "report.png"
ROWS = "Rows: footage, before, after; first its own speech on held-out frames, then foreign speech."
"""Caption of the contact sheet."""

_EQUAL_OPENING = 0.02
"""Difference of correlations that is not worth a higher guidance scale."""

_EXPLANATIONS = {
    "psnr_db": "mouth region against held-out footage, its own speech, dB",
    "ssim": "structural similarity, likewise",
    "opening": "mouth opening, correlation with foreign speech",
    "width": "mouth width, likewise",
    "leak": "share of the mouth opening under foreign speech that comes from the footage's own mouth",
    "sharpness": "gradient in the mouth region, relative to the footage",
    "flicker": "second difference over time, relative to the footage",
    "edge": "colour step at the mask's edge, relative to the footage",
}


@dataclass(frozen=True)
class TrainedPart:
    """How much of the planned training was done.

    Attributes:
        num_steps: training steps.
        minutes: their time.
        planned_steps, planned_minutes: the plan; one of them is None.
    """

    num_steps: int
    minutes: float
    planned_steps: int | None = None
    planned_minutes: float | None = None

    @classmethod
    def of(cls, progress: Progress, planned_minutes: float, planned_steps: int | None) -> "TrainedPart":
        """Return the part of a plan that is done; planned steps count instead of planned minutes."""
        minutes = round(progress.seconds / 60, 3)
        return cls(progress.global_step, minutes, planned_steps, planned_minutes if planned_steps is None else None)

    def __str__(self) -> str:
        steps, minutes = f"{self.num_steps} steps", f"{self.minutes:.1f} minutes"
        if self.planned_steps is not None and self.num_steps < self.planned_steps:
            return f"{self.num_steps} of {self.planned_steps} planned steps in {minutes}"
        if self.planned_minutes is not None and self.minutes < self.planned_minutes:
            return f"{steps} in {self.minutes:.1f} of {self.planned_minutes:g} planned minutes"
        return f"{steps} in {minutes}"


@dataclass(frozen=True)
class AdaptationReport:
    """Result of an adaptation.

    Attributes:
        before, after: metrics by name, see `mouth_metrics.MouthMetrics`.
        guidance_scale: of `after`, stored with the weights.
        default_guidance_scale: of `before`.
        audio: "both", "own" or "pseudo".
        agreement: how lips and sound of the footage agree.
        margin: largest loss of the opening's correlation that is not reported as a loss.
        trained: steps and time of the training.
        seconds: length of the footage.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    guidance_scale: float
    default_guidance_scale: float
    audio: str
    agreement: LipAgreement
    margin: float
    trained: TrainedPart
    seconds: float

    @classmethod
    def of(
        cls,
        before: CheckResult,
        after: CheckResult,
        audio: tuple[str, LipAgreement],
        margin: float,
        trained: TrainedPart,
        seconds: float,
    ) -> "AdaptationReport":
        """Build the report of two checks."""
        scales = (after.guidance_scale, before.guidance_scale)
        return cls(before.summary(), after.summary(), *scales, *audio, margin, trained, seconds)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "AdaptationReport":
        """Build the report that a finished adaptation has stored.

        Raises:
            DamagedAdaptationError: it is missing or damaged.
        """
        try:
            values = dict(record["report"])
            parts = {"agreement": LipAgreement(**values["agreement"]), "trained": TrainedPart(**values["trained"])}
            return cls(**values | parts)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedAdaptationError(f"the report in {RECORD} is damaged: adapt again") from error

    def values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def lost_opening(self) -> float:
        """Loss of the opening's correlation with foreign speech."""
        return self.before["opening"] - self.after["opening"]

    def lines(self) -> list[str]:
        """Return the result in sentences."""
        before, after = self.before, self.after
        lines = [
            f"U-Net: {self.trained} on {self.seconds:.1f} s of footage, audio: {self.audio} (lips and sound: "
            f"{self.agreement})",
            f"mouth region of held-out frames: {before['psnr_db']:.1f} dB before, {after['psnr_db']:.1f} dB after",
            f"mouth opening with foreign speech: {before['opening']:.2f} before, {after['opening']:.2f} after",
        ]
        if self.guidance_scale != self.default_guidance_scale:
            lines.append(
                f"the adapted mouth follows speech better at guidance {self.guidance_scale:g} than at "
                f"{self.default_guidance_scale:g}, so {self.guidance_scale:g} is stored with the weights"
            )
        if self.lost_opening > self.margin:
            lines.append(
                f"warning: the mouth follows foreign speech less than before, by {self.lost_opening:.2f}: give more "
                "footage, or fewer minutes"
            )
        if after["psnr_db"] <= before["psnr_db"]:
            lines.append("warning: the held-out frames are not closer to the person than before: give more footage")
        return lines

    def table(self) -> str:
        """Return the metrics before and after as a Markdown table."""
        rows = [
            f"| {text} | {self.before[name]:.3f} | {self.after[name]:.3f} |" for name, text in _EXPLANATIONS.items()
        ]
        return "\n".join(["| metric | before | after |", "|---|---|---|", *rows])

    def write(self, folder: Path, rows: Sequence[np.ndarray]) -> None:
        """Write report.md and report.png (footage, before, after; one group of rows for each speech).

        Raises:
            InputError: they cannot be written.
        """
        with atomic_output(folder / SHEET) as beside:
            write_crop_sheet(rows, beside)
        sheet = f"![footage, before, after]({SHEET})"
        text = "\n\n".join(["# Adaptation", "\n".join(f"* {line}" for line in self.lines()), self.table(), ROWS, sheet])
        with atomic_output(folder / MARKDOWN) as beside:
            beside.write_text(text + "\n", encoding="utf-8")


def choose_guidance(
    before: CheckResult, scales: Sequence[float], check: Callable[[float], CheckResult], margin: float
) -> CheckResult:
    """Return the check at the first guidance scale that loses no more than `margin`, else at about the best one.

    Args:
        before: check of the weights before the adaptation.
        scales: guidance scales, the lowest first, since high ones cost likeness.
        check: returns the check at a scale.
        margin: largest loss of the opening's correlation.
    """
    tried: list[CheckResult] = []
    for scale in scales:
        tried.append(check(scale))
        if before.opening - tried[-1].opening <= margin:
            return tried[-1]
    best = max(result.opening for result in tried)
    return next(result for result in tried if result.opening >= best - _EQUAL_OPENING)
