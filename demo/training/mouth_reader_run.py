"""Root configuration of the mouth reader (`configs/demo/mouth_reader.yaml`), and the trainer it describes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demo.synthetic.clip_metrics import mouth_reading_metrics
from demo.synthetic.clip_set import Clip
from demo.training.demo_data_config import DemoDataConfig, held_out_validator, training_clips
from demo.training.mouth_reader_step import MouthCrops, MouthReaderStep
from latentsync.data.batching import collate
from latentsync.judges.mouth_reader import MouthReader
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig


@dataclass
class MouthReaderRun:
    """Everything `configs/demo/mouth_reader.yaml` says."""

    data: DemoDataConfig = field(default_factory=DemoDataConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)


class ReadingValidator:
    """How well the mouths of held-out clips are read."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Figures of a `MouthReader`."""
        return mouth_reading_metrics(model, self.clips)


def build_mouth_reader_trainer(run: MouthReaderRun, resolved_config: dict[str, Any]) -> Trainer:
    """Joins clips, network and validation with a trainer.

    Raises:
        InputError: there are no clips.
    """
    clips = training_clips(run.data)
    validator = held_out_validator(run.data, run.training, ReadingValidator)
    torch.manual_seed(run.training.seed)
    step = MouthReaderStep(MouthReader())
    dataset = MouthCrops(clips, run.training.seed)
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def empty_mouth_reader(run: MouthReaderRun) -> nn.Module:
    """The network without its numbers."""
    with torch.device("meta"):
        return MouthReader()
