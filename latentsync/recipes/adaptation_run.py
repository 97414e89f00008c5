"""Configuration of an adaptation to one person: a U-Net training and its checks.

``configs/demo/adapt.yaml`` and ``configs/unet/adapt.yaml`` have this form.
"""

from dataclasses import dataclass, field

from latentsync.models.lora import LoraConfig
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.trainer_config import OptimizerConfig

LANDMARKS = "landmarks"
"""Mouth reader that measures face-alignment's landmarks."""


@dataclass
class DecoderConfig:
    """Training of the VAE's decoder on the person's frames, before the U-Net's.

    Attributes:
        share: of the time of the adaptation; 0: the decoder is not trained.
        batch_size: items per step, of four frames each.
        optimizer: of the decoder.
    """

    share: float = 0.0
    batch_size: int = 3
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="muon", lr=7.5e-4, matrix_lr=3e-3, weight_decay=0.0)
    )

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"adaptation.decoder.share lies in [0, 1), not {self.share}")
        if self.batch_size < 1:
            raise ValueError(f"adaptation.decoder.batch_size is {self.batch_size}: use at least 1")


@dataclass
class AdaptationConfig:
    """What an adaptation needs beside the settings of the training.

    Attributes:
        mouth_reader: weights of the network that reads mouths in crops, relative to the repository; or "landmarks",
            which measures the 68 landmarks of face-alignment.
        lora: low-rank changes of frozen weights instead of a training of all weights that `trainable` selects.
        decoder: training of the VAE's decoder.
        speech: recordings of the speech bank, from which footage without fitting sound takes its audio.
        own_share: share of the training items of the footage that have its own sound, with `--audio both`; the others
            have speech of the bank.
        check_speech: recordings, not of the bank, that the person says in the checks before and after.
        frozen: substrings of the names of weights that are not trained, although `trainable` or `lora.targets`
            selects them.
        mixed_share: share of the training items that are clips of other people, if there are any.
        guidance_scales: guidance scales that are tried if the adapted mouth follows the speech less than before.
        margin: largest loss of the opening's correlation with the speech that is not reported as a loss.
    """

    mouth_reader: str = "checkpoints/demo/mouth_reader.pt"
    lora: LoraConfig = field(default_factory=LoraConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    speech: list[str] = field(default_factory=list)
    check_speech: list[str] = field(default_factory=list)
    own_share: float = 0.5
    frozen: list[str] = field(default_factory=list)
    mixed_share: float = 0.3
    guidance_scales: list[float] = field(default_factory=lambda: [2.0])
    margin: float = 0.04

    def __post_init__(self) -> None:
        if not 0 <= self.mixed_share < 1:
            raise ValueError(f"adaptation.mixed_share lies in [0, 1), not {self.mixed_share}")
        if not 0 <= self.own_share <= 1:
            raise ValueError(f"adaptation.own_share lies in [0, 1], not {self.own_share}")
        if not all(1 <= scale <= 20 for scale in self.guidance_scales):
            raise ValueError(f"adaptation.guidance_scales lie in [1, 20], not {self.guidance_scales}")


@dataclass
class AdaptationRun(UNetRun):
    """The configuration of the U-Net's training, and the section `adaptation`."""

    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial is None:
            raise ValueError("initial: an adaptation starts from weights: name them")
