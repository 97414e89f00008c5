"""The bars the demo weights are held to, and the table that says which are met."""

from collections.abc import Mapping
from dataclasses import dataclass

Groups = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        what: a line for people.
        group, figure: where the figure is found.
        limit: the bar, in the figure's unit.
        at_least: whether the figure must reach it, or stay under it.
        form: how figure and limit are written.
    """

    what: str
    group: str
    figure: str
    limit: float
    at_least: bool = True
    form: str = "{:.3f}"

    def value(self, groups: Groups) -> float | None:
        """The figure, or None where it is not measured."""
        return groups.get(self.group, {}).get(self.figure)

    def is_met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


BARS = (
    Bar("SyncNet accuracy at threshold 0.5, negatives >= 3 frames away", "syncnet", "accuracy", 0.94, form="{:.1%}"),
    Bar("offset found on ground truth, +-15 frames: share of clips with 0", "syncnet", "offset_0", 0.98, form="{:.0%}"),
    Bar("VAE reconstruction", "vae", "psnr_db", 34, form="{:.2f} dB"),
    Bar("VAE, mean Lab chroma error", "vae", "chroma_error", 2, at_least=False, form="{:.2f}"),
    Bar("VAE on real crops, the worst video", "vae", "real_psnr_db_worst", 28, form="{:.2f} dB"),
    Bar("mouth reader against the truth", "mouth_reader", "opening", 0.98),
    Bar("mouth opening in the result with the driving speech, mean", "dubs", "opening", 0.96),
    Bar("the same, worst clip", "dubs", "opening_worst", 0.90),
    Bar("the same with the original speech", "dubs", "opening_original", 0.15, at_least=False),
    Bar("mouth width in the result with the driving speech", "dubs", "width", 0.85),
    Bar("sync score of results over ground truth's", "dubs", "sync_ratio", 0.95),
    Bar("the same over that of the driving clips", "dubs", "sync_ratio_driving", 0.95),
    Bar("colour step across the mask's edge over ground truth's", "dubs", "edge_ratio", 1.2, at_least=False),
    Bar("the same between neighbouring pixels", "dubs", "edge_neighbours_ratio", 1.2, at_least=False),
    Bar("flicker in the mouth region over ground truth's", "dubs", "flicker_ratio", 1.3, at_least=False),
    Bar("inference.sh on the bundled demo", "inference", "seconds", 120, at_least=False, form="{:.0f} s"),
    Bar("all demo weights together", "size", "megabytes", 20, at_least=False, form="{:.2f} MB"),
)


def markdown_table(groups: Groups) -> str:
    """Every bar with its figure and whether it is met."""
    lines = ["| what | bar | figure | met |", "|---|---|---|---|"]
    for bar in BARS:
        value = bar.value(groups)
        limit = f"{'>=' if bar.at_least else '<='} {bar.form.format(bar.limit)}"
        shown = ("not measured", "-") if value is None else (bar.form.format(value), _verdict(bar, value))
        lines.append(f"| {bar.what} | {limit} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines) + "\n"


def _verdict(bar: Bar, value: float) -> str:
    return "yes" if bar.is_met(value) else "**no**"
