"""Targets of the demo weights, and the table that compares them with the measured values."""

from collections.abc import Mapping
from dataclasses import dataclass

from eval.stored_results import Values

Groups = Mapping[str, Values]


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        description: one line.
        group, quantity: name of the value.
        limit: the target, in the value's unit.
        is_minimum: True if the value must be at least `limit`, False if at most.
        form: format string of value and limit.
    """

    description: str
    group: str
    quantity: str
    limit: float
    is_minimum: bool = True
    form: str = "{:.3f}"

    def value(self, groups: Groups) -> float | None:
        """Return the measured value, or None if it was not measured."""
        return groups.get(self.group, {}).get(self.quantity)

    def is_met(self, value: float) -> bool:
        """Return True if a value meets the target."""
        return value >= self.limit if self.is_minimum else value <= self.limit


TARGETS = (
    Target("SyncNet accuracy at threshold 0.5, negatives >= 3 frames away", "syncnet", "accuracy", 0.94, form="{:.1%}"),
    Target(
        "offset found on ground truth, +-15 frames: share of clips with 0", "syncnet", "offset_0", 0.98, form="{:.0%}"
    ),
    Target("VAE reconstruction", "vae", "psnr_db", 34, form="{:.2f} dB"),
    Target("VAE, mean Lab chroma error", "vae", "chroma_error", 2, is_minimum=False, form="{:.2f}"),
    Target("VAE on real crops, the worst video", "vae", "real_psnr_db_worst", 28, form="{:.2f} dB"),
    Target("mouth reader against the truth", "mouth_reader", "opening", 0.98),
    Target("mouth opening in the result with the driving speech, mean", "dubs", "opening", 0.96),
    Target("the same, worst clip", "dubs", "opening_worst", 0.90),
    Target("the same with the original speech", "dubs", "opening_original", 0.15, is_minimum=False),
    Target("mouth width in the result with the driving speech", "dubs", "width", 0.85),
    Target("sync score of results over ground truth's", "dubs", "sync_ratio", 0.95),
    Target("the same over that of the driving clips", "dubs", "sync_ratio_driving", 0.95),
    Target("colour step across the mask's edge over ground truth's", "dubs", "edge_ratio", 1.2, is_minimum=False),
    Target("the same between neighbouring pixels", "dubs", "edge_neighbours_ratio", 1.2, is_minimum=False),
    Target("flicker in the mouth region over ground truth's", "dubs", "flicker_ratio", 1.3, is_minimum=False),
    Target("inference.sh on the bundled demo", "inference", "seconds", 120, is_minimum=False, form="{:.0f} s"),
    Target("all demo weights together", "size", "megabytes", 20, is_minimum=False, form="{:.2f} MB"),
)


def markdown_table(groups: Groups) -> str:
    """Return a Markdown table of all targets with the measured values."""
    lines = ["| what | target | value | met |", "|---|---|---|---|"]
    for target in TARGETS:
        value = target.value(groups)
        limit = f"{'>=' if target.is_minimum else '<='} {target.form.format(target.limit)}"
        shown, verdict = "not measured", "-"
        if value is not None:
            shown, verdict = target.form.format(value), "yes" if target.is_met(value) else "**no**"
        lines.append(f"| {target.description} | {limit} | {shown} | {verdict} |")
    return "\n".join(lines) + "\n"
