"""Root configuration of the demo audio encoder (`configs/demo/audio_encoder.yaml`), and the trainer it describes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demo.synthetic.clip_set import Clip
from demo.training.audio_encoder import (
    AudioEncoderStep,
    MouthHearer,
    build_encoder,
    full_pieces,
    hearing_figures,
)
from demo.training.demo_data_config import DemoDataConfig, held_out_validator, training_clips
from demo.training.spoken_clips import SpokenClips
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.data.batching import ItemKey, collate
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig
from latentsync.weights import locate_initial

_SEED = 1234


@dataclass
class AudioEncoderRun:
    """Everything `configs/demo/audio_encoder.yaml` says.

    Attributes:
        data: the clips.
        initial: an encoder to go on from, in the working folder or the repository; None starts from nothing.
        full_pieces_from: share of the training after which full 30 s pieces are heard instead of single clips.
        num_pieces: full pieces in a step.
        training: the loop.
    """

    data: DemoDataConfig = field(default_factory=DemoDataConfig)
    initial: str | None = None
    full_pieces_from: float = 0.7
    num_pieces: int = 6
    training: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.full_pieces_from <= 1 or self.num_pieces < 1:
            raise ValueError("full_pieces_from lies in [0, 1], num_pieces is at least 1")


class HearingValidator:
    """How well the mouth of held-out clips is heard, each clip in a full piece with others or alone."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.spoken = SpokenClips(clips, _SEED, num_variants=1)

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Correlations of a `MouthHearer`."""
        batch = collate([self.spoken[ItemKey(index, 0)] for index in range(len(self.spoken))])
        pieces = full_pieces(batch, max(len(self.spoken) // 3, 1), torch.Generator().manual_seed(_SEED))
        device = next(model.parameters()).device
        heard = torch.cat([model(mel.to(device)).float().cpu() for mel in pieces.mel.split(1)])
        return {name: float(value) for name, value in hearing_figures(heard, pieces).items()}


def build_audio_encoder_trainer(run: AudioEncoderRun, resolved_config: dict[str, Any]) -> Trainer:
    """Joins clips, network and validation with a trainer.

    Raises:
        InputError: there are no clips.
        CheckpointError: the weights to go on from are missing or damaged.
    """
    clips = training_clips(run.data)
    validator = held_out_validator(run.data, run.training, HearingValidator)
    torch.manual_seed(run.training.seed)
    step = AudioEncoderStep(_initial_hearer(run.initial), run.full_pieces_from, run.num_pieces)
    dataset = SpokenClips(clips, run.training.seed)
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def _initial_hearer(initial: str | None) -> MouthHearer:
    if initial is None:
        return MouthHearer(build_encoder())
    return MouthHearer(load_whisper_encoder(locate_initial(initial)).train().requires_grad_(True))


def empty_audio_encoder(run: AudioEncoderRun) -> nn.Module:
    """The network without its numbers."""
    with torch.device("meta"):
        return MouthHearer(build_encoder())
