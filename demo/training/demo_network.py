"""Recipe of a demo network: its clips, and how its trainer is built from a root configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset

from demo.synthetic.clip_set import Clip, find_clips
from latentsync.data.batching import ItemKey, collate
from latentsync.training.train_command import Check
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import TrainingStep, Validator


@dataclass
class DemoDataConfig:
    """Folders of synthetic clips, as `python -m demo.synthetic dataset` writes them.

    Attributes:
        train_clips: folder of training clips.
        validation_clips: folder of held-out clips.
        max_validation_clips: number of held-out clips used, the first by name.
    """

    train_clips: str = "data/train"
    validation_clips: str = "data/val"
    max_validation_clips: int = 20

    def __post_init__(self) -> None:
        if self.max_validation_clips < 1:
            raise ValueError(f"data.max_validation_clips is {self.max_validation_clips}: use at least 1")


@dataclass
class DemoRun:
    """Root configuration of a network without settings of its own.

    Attributes:
        data: the clips.
        training: the training loop.
    """

    data: DemoDataConfig = field(default_factory=DemoDataConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)


Run = TypeVar("Run", bound=DemoRun)
Model = TypeVar("Model", bound=nn.Module)


class ClipItems(Dataset[dict[str, Any]]):
    """Base of data sets with one item per clip and epoch, a function of (key, seed) alone.

    Args:
        clips: the clips; item (index, epoch) belongs to clip `index`.
        seed: of all random choices.
    """

    def __init__(self, clips: Sequence[Clip], seed: int) -> None:
        self.clips = clips
        self.seed = seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class DemoNetwork(Generic[Run, Model]):
    """Recipe of one demo network.

    Attributes:
        description: one line for the help.
        schema: dataclass of the root configuration.
        build_model: builds the network, with its trainable weights selected; receives the configuration and the path
            of initial weights, or None to initialize it at random.
        build_dataset: builds the data set from clips and a seed.
        build_step: builds the training step from configuration, network and data set.
        build_validator: builds the validator from held-out clips.
        find_initial: finds the weights that the configuration names; None if it names none.
        weights_key: key of the configuration that names them.
    """

    description: str
    schema: type[Run]
    build_model: Callable[[Run, Path | None], Model]
    build_dataset: Callable[[Sequence[Clip], int], ClipItems]
    build_step: Callable[[Run, Model, ClipItems], TrainingStep]
    build_validator: Callable[[Sequence[Clip]], Validator]
    find_initial: Callable[[str], Path] | None = None
    weights_key: str = "initial"

    def build_trainer(self, run: Run, resolved_config: dict[str, Any]) -> Trainer:
        """Build the trainer of a configuration.

        Args:
            run: the root configuration.
            resolved_config: its plain copy, stored with the run.

        Raises:
            InputError: there are no clips.
            ConfigError: `trainable` matches no weights.
            CheckpointError: the initial weights are missing or damaged.
        """
        clips = find_clips(Path(run.data.train_clips))
        validator = None
        if run.training.validate_every:
            held_out = find_clips(Path(run.data.validation_clips))[: run.data.max_validation_clips]
            validator = self.build_validator(held_out)
        torch.manual_seed(run.training.seed)
        model = self.build_model(run, self._initial_weights(run))
        dataset = self.build_dataset(clips, run.training.seed)
        step = self.build_step(run, model, dataset)
        return Trainer(run.training, step, dataset, collate, validator, resolved_config)

    def build_meta_model(self, run: Run) -> Model:
        """Build the network on the meta device, for its names and shapes."""
        with torch.device("meta"):
            return self.build_model(run, None)

    def file_checks(self, run: Run, model: nn.Module) -> list[Check]:
        """Return checks of the files that the training reads; each raises InputError or CheckpointError."""
        checks: list[Check] = [partial(find_clips, Path(run.data.train_clips))]
        if run.training.validate_every:
            checks.append(partial(find_clips, Path(run.data.validation_clips)))
        checks.append(partial(self._initial_weights, run))
        return checks

    def _initial_weights(self, run: Run) -> Path | None:
        initial: str | None = getattr(run, self.weights_key, None)
        return None if self.find_initial is None or initial is None else self.find_initial(initial)
