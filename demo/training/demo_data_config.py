"""Where the clips of a demo training are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from demo.synthetic.clip_set import Clip, find_clips
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import Validator


@dataclass
class DemoDataConfig:
    """Folders of synthetic clips, as `python -m demo.synthetic dataset` writes them.

    Attributes:
        train_clips: what is learnt from.
        validation_clips: what is held out.
        max_validation_clips: the first so many of them are looked at.
    """

    train_clips: str = "data/train"
    validation_clips: str = "data/val"
    max_validation_clips: int = 20

    def __post_init__(self) -> None:
        if self.max_validation_clips < 1:
            raise ValueError(f"data.max_validation_clips is at least 1, not {self.max_validation_clips}")


def training_clips(data: DemoDataConfig) -> list[Clip]:
    """All clips to learn from. Raises InputError where there are none."""
    return find_clips(Path(data.train_clips))


def held_out_validator(
    data: DemoDataConfig, training: TrainerConfig, build: Callable[[list[Clip]], Validator]
) -> Validator | None:
    """The validator over the held-out clips; None where the run does not validate.

    Raises:
        InputError: there are no held-out clips.
    """
    if training.validate_every == 0:
        return None
    return build(find_clips(Path(data.validation_clips))[: data.max_validation_clips])


def clip_checks(data: DemoDataConfig, training: TrainerConfig) -> list[Callable[[], object]]:
    """What must hold of the clips before a training; each raises InputError where it does not."""
    checks: list[Callable[[], object]] = [partial(find_clips, Path(data.train_clips))]
    if training.validate_every:
        checks.append(partial(find_clips, Path(data.validation_clips)))
    return checks
