"""The progress bar of a training, in steps or in time."""

from collections.abc import Mapping

from tqdm import tqdm

from latentsync.training.checkpointing import Progress
from latentsync.training.trainer_config import TrainerConfig

_TIMED = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class TrainingBar:
    """Shows finished steps and the time left; with a limited time, its used share and the time left.

    Args:
        config: of the run.
        progress: at the start.
        is_shown: False for a bar that shows nothing.
    """

    def __init__(self, config: TrainerConfig, progress: Progress, is_shown: bool) -> None:
        disable = None if is_shown else True  # None: shown in a terminal only
        self._minutes = config.max_minutes
        if self._minutes is None:
            self._bar = tqdm(total=config.max_steps, initial=progress.global_step, unit="step", disable=disable)
        else:
            total = 60 * self._minutes
            self._bar = tqdm(total=total, initial=progress.seconds, bar_format=_TIMED, disable=disable)

    def advance(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        """Show the progress after a step."""
        values = _texts(metrics)
        if self._minutes is None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update()
        else:
            self._bar.set_postfix({"step": progress.global_step, **values}, refresh=False)
            self._bar.update(min(progress.seconds, self._bar.total) - self._bar.n)

    def close(self) -> None:
        """Close the bar; it stays on the screen."""
        self._bar.close()


def _texts(metrics: Mapping[str, float]) -> dict[str, str]:
    names = {"loss": "loss", "learning_rate": "rate", "samples_per_second": "samples/s"}
    return {short: f"{metrics[name]:.4g}" for name, short in names.items() if name in metrics}
