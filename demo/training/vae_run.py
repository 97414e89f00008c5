"""Root configuration of the demo VAE (`configs/demo/vae.yaml`, `vae_decoder.yaml`), and the trainer it describes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demo.synthetic.clip_metrics import reconstruct, reconstruction_metrics, sample_frames
from demo.synthetic.clip_set import Clip
from demo.training.demo_data_config import DemoDataConfig, held_out_validator, training_clips
from demo.training.vae import TrainedVae, build_vae
from demo.training.vae_pictures import VaePictures
from demo.training.vae_step import VaeStep
from latentsync.data.batching import ItemKey, collate
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.training.optimizers import select_trainable
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig
from latentsync.weights import find_initial_vae

_NUM_PROBES = 48


@dataclass
class VaeRun:
    """Everything a configuration of the demo VAE says.

    Attributes:
        data: the clips.
        initial: diffusers folder to go on from, in the working folder or the repository; None starts from nothing.
        trainable: parts of the names of the weights that train; empty: all.
        small_crops_until: share of the training that looks at crops of half the side.
        kl_weight: of the latents' distance from a normal distribution.
        training: the loop.
    """

    data: DemoDataConfig = field(default_factory=DemoDataConfig)
    initial: str | None = None
    trainable: list[str] = field(default_factory=list)
    small_crops_until: float = 0.55
    kl_weight: float = 3e-5
    training: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.small_crops_until <= 1 or self.kl_weight < 0:
            raise ValueError("small_crops_until lies in [0, 1], kl_weight is at least 0")


class ReconstructionValidator:
    """How well the VAE gives back three frames of every held-out clip."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Figures of a `TrainedVae`."""
        codec = LatentCodec(model.get_submodule("vae"))  # type: ignore[arg-type]
        originals = sample_frames(self.clips)
        return reconstruction_metrics(originals, reconstruct(codec, originals))


def build_vae_trainer(run: VaeRun, resolved_config: dict[str, Any]) -> Trainer:
    """Joins clips, network and validation with a trainer.

    Raises:
        InputError: there are no clips.
        ConfigError: `trainable` names nothing.
        CheckpointError: the VAE to go on from is missing or damaged.
    """
    clips = training_clips(run.data)
    validator = held_out_validator(run.data, run.training, ReconstructionValidator)
    torch.manual_seed(run.training.seed)
    network = _network(run)
    dataset = VaePictures(clips, run.training.seed)
    step = VaeStep(network, probe_pictures(dataset), run.small_crops_until, run.kl_weight)
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def probe_pictures(dataset: VaePictures) -> torch.Tensor:
    """The pictures (n, 3, R, R) that decide the scale of the latents, the same for the same clips and seed."""
    keys = [ItemKey(index % len(dataset), index // len(dataset)) for index in range(_NUM_PROBES)]
    return collate([dataset[key] for key in keys])["picture"]


def empty_vae(run: VaeRun) -> nn.Module:
    """The network without its numbers, its trainable weights marked."""
    with torch.device("meta"):
        network = TrainedVae(build_vae())
    select_trainable(network, run.trainable)
    return network


def _network(run: VaeRun) -> TrainedVae:
    vae = build_vae() if run.initial is None else load_vae(find_initial_vae(run.initial)).vae
    network = TrainedVae(vae)
    select_trainable(network, run.trainable)
    return network
