"""Notices a SyncNet that does not leave chance, the loss of 0.693, and says what to change."""

from collections.abc import Sequence
from dataclasses import dataclass

from latentsync.training.syncnet_step import CHANCE_LOSS


@dataclass
class WatchdogConfig:
    """When a loss counts as stuck.

    Attributes:
        patience_steps: optimizer steps after which the loss should be below chance; 0 never warns.
        margin: by how much.
    """

    patience_steps: int = 1000
    margin: float = 0.01

    def __post_init__(self) -> None:
        if self.patience_steps < 0 or self.margin <= 0:
            raise ValueError("watchdog: patience_steps is 0 or more, margin above 0")


class ChanceWatchdog:
    """A callback of the trainer: one line when `sync_loss` never fell below chance, again each time the steps double.

    Args:
        config: when a loss counts as stuck.
        advice: what to change, the most promising first (`latentsync.recipes.train_syncnet` knows the configuration).
    """

    def __init__(self, config: WatchdogConfig, advice: Sequence[str]) -> None:
        self.config = config
        self.advice = "; ".join(advice)
        self._lowest = float("inf")
        self._next_warning = config.patience_steps

    def __call__(self, global_step: int, metrics: dict[str, float]) -> str | None:
        """Takes a row of training metrics in; the warning, or None."""
        self._lowest = min(self._lowest, metrics.get("sync_loss", float("inf")))
        has_left = self._lowest < CHANCE_LOSS - self.config.margin
        if has_left or not self.config.patience_steps or global_step < self._next_warning:
            return None
        self._next_warning = 2 * global_step
        return f"sync_loss is still at chance ({CHANCE_LOSS:.3f}) after {global_step} steps: {self.advice}"
