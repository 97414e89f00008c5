"""Root configuration of the small VideoMAE (`configs/demo/videomae.yaml`), and the trainer it describes."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from demo.training.demo_data_config import DemoDataConfig, held_out_validator, training_clips
from demo.training.videomae import DEMO_SIZE, MaskedRuns, SelfTaughtVideoMae, VideoMaeStep
from demo.training.videomae_validator import VideoMaeValidator
from latentsync.data.batching import collate
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig


@dataclass
class VideoMaeRun:
    """Everything `configs/demo/videomae.yaml` says."""

    data: DemoDataConfig = field(default_factory=DemoDataConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)


def build_videomae_trainer(run: VideoMaeRun, resolved_config: dict[str, Any]) -> Trainer:
    """Joins clips, network and validation with a trainer.

    Raises:
        InputError: there are no clips.
    """
    clips = training_clips(run.data)
    validator = held_out_validator(run.data, run.training, lambda held_out: VideoMaeValidator(held_out, DEMO_SIZE))
    torch.manual_seed(run.training.seed)
    step = VideoMaeStep(SelfTaughtVideoMae(DEMO_SIZE), DEMO_SIZE)
    dataset = MaskedRuns(clips, run.training.seed, DEMO_SIZE)
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def empty_videomae(run: VideoMaeRun) -> nn.Module:
    """The network without its numbers."""
    with torch.device("meta"):
        return SelfTaughtVideoMae(DEMO_SIZE)
