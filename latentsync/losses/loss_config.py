"""Settings of the U-Net's loss terms. A term of weight 0 is not built, and its network is not loaded."""

from dataclasses import dataclass, field

VIDEOMAE_V2 = "videomae_v2"
PERCEPTUAL_NETWORKS = ("vgg16", "vae_encoder")
SYNC_SPACES = ("pixel", "latent")


@dataclass
class EpsilonLossConfig:
    """Settings of the epsilon loss (noise prediction).

    Attributes:
        mouth_emphasis: in [0, 1], how much larger the weight of the mouth is; 0 is the published plain MSE.
        high_noise_emphasis: at least 0, cap of the 1 / SNR added to the weight 1 of a timestep; 0 as published.
    """

    weight: float = 1.0
    mouth_emphasis: float = 0.0
    high_noise_emphasis: float = 0.0

    def __post_init__(self) -> None:
        _check_weight("epsilon", self.weight)
        if not 0 <= self.mouth_emphasis <= 1:
            raise ValueError(f"losses.epsilon.mouth_emphasis {self.mouth_emphasis} is not in [0, 1]")
        if self.high_noise_emphasis < 0:
            raise ValueError(f"losses.epsilon.high_noise_emphasis {self.high_noise_emphasis} is below 0")


@dataclass
class LatentLossConfig:
    """Settings of the latent loss (clean estimate against target latents); few-step distillation uses it.

    Attributes:
        huber_delta: absolute error of the latents above which the loss is linear; latents have about unit variance.
        mouth_emphasis: in [0, 1], how much larger the weight of the mouth is.
    """

    weight: float = 0.0
    huber_delta: float = 0.1
    mouth_emphasis: float = 0.0

    def __post_init__(self) -> None:
        _check_weight("latent", self.weight)
        if not 0 <= self.mouth_emphasis <= 1:
            raise ValueError(f"losses.latent.mouth_emphasis {self.mouth_emphasis} is not in [0, 1]")
        if not self.huber_delta > 0:
            raise ValueError(f"losses.latent.huber_delta {self.huber_delta} is not above 0")


@dataclass
class SyncLossConfig:
    """Settings of the sync loss; the published weight of stage 2 is 0.05.

    Attributes:
        config: YAML of the SyncNet, relative to the repository.
        checkpoint: its weights, relative to the repository.
        space: "pixel" (lower half of decoded frames) or "latent" (whole latents, nothing is decoded).
        antialias: resize frames larger than the SyncNet's resolution with antialiasing; the published resize has
            none.
    """

    weight: float = 0.0
    config: str = "configs/syncnet/syncnet_16_pixel_attn.yaml"
    checkpoint: str = "checkpoints/stable_syncnet.pt"
    space: str = "pixel"
    antialias: bool = True

    def __post_init__(self) -> None:
        _check_weight("sync", self.weight)
        if self.space not in SYNC_SPACES:
            raise ValueError(f"losses.sync.space {self.space!r} is not one of {', '.join(SYNC_SPACES)}")


@dataclass
class PerceptualLossConfig:
    """Settings of the perceptual loss on lower halves; the published weight of stage 2 is 0.1.

    Attributes:
        network: "vgg16" (LPIPS, published) or "vae_encoder", a stand-in: LPIPS' formula on the VAE's own encoder.
    """

    weight: float = 0.0
    network: str = "vgg16"

    def __post_init__(self) -> None:
        _check_weight("perceptual", self.weight)
        if self.network not in PERCEPTUAL_NETWORKS:
            raise ValueError(
                f"losses.perceptual.network {self.network!r} is not one of {', '.join(PERCEPTUAL_NETWORKS)}"
            )


@dataclass
class TrepaLossConfig:
    """Settings of TREPA, temporal representation alignment; the published weight of stage 2 is 10.

    Attributes:
        network: "videomae_v2" (published ViT-g), or the path, relative to the repository, of a small stand-in that
            `latentsync.judges.videomae.save_small_videomae` wrote.
    """

    weight: float = 0.0
    network: str = VIDEOMAE_V2

    def __post_init__(self) -> None:
        _check_weight("trepa", self.weight)


@dataclass
class LossesConfig:
    """Settings of all terms; the defaults are the published stage 1."""

    epsilon: EpsilonLossConfig = field(default_factory=EpsilonLossConfig)
    sync: SyncLossConfig = field(default_factory=SyncLossConfig)
    perceptual: PerceptualLossConfig = field(default_factory=PerceptualLossConfig)
    trepa: TrepaLossConfig = field(default_factory=TrepaLossConfig)
    latent: LatentLossConfig = field(default_factory=LatentLossConfig)

    def __post_init__(self) -> None:
        terms = (self.epsilon, self.sync, self.perceptual, self.trepa, self.latent)
        if not any(term.weight > 0 for term in terms):
            raise ValueError("losses: every weight is 0: set at least one above 0")


def _check_weight(name: str, weight: float) -> None:
    if not 0 <= weight < float("inf"):
        raise ValueError(f"losses.{name}.weight {weight} is not a number of at least 0")
