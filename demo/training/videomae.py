"""The demo's small VideoMAE, a stand-in for VideoMAE-v2, trained on synthetic clips without labels.

Two tasks are trained together, both on windows of frames with masked patches:

* Reconstruction of the masked patches (VideoMAE, arXiv 2203.12602). Patches are masked at any position in space and
  time, so that a mouth must be reconstructed from the moments before and after.
* Contrastive learning (InfoNCE, arXiv 1807.03748): the pooled features of two views of a window, with different masks
  and colours, shall be nearer to each other than to those of other windows of the clip.

Reconstruction alone gives features that separate people but hardly react to disorder in time: the squared distance of
a window with frozen lips was 0.002, and is 0.09 with both tasks. The published network was trained with labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.videomae.modeling_videomae import VideoMAEForPreTraining

from demo.synthetic.clip_set import Clip
from demo.training.demo_network import DemoNetwork, DemoRun
from demo.training.videomae_windows import MaskedWindows, corrupted_windows, two_views
from latentsync.data.batching import ItemKey, collate
from latentsync.judges.videomae import LAYER_NORM_EPS, VideoFeatures, VideoMaeSize, save_small_videomae
from latentsync.training.training_step import StepContext, StepResult
from latentsync.training.unet_step import plain_attention

DEMO_SIZE = VideoMaeSize(
    image_size=64, patch_size=8, tubelet_size=2, num_frames=16, width=128, depth=4, num_heads=4, mlp_width=256
)
_DECODER_WIDTH, _DECODER_DEPTH, _DECODER_HEADS = 64, 1, 2
_TEMPERATURE = 0.1
_MIN_DEVIATION, _DEVIATION_WEIGHT = 0.6, 2.0
_VALIDATION_SEED = 1234
_DECODER_HEAD = "autoencoder.decoder.head"


class SelfSupervisedVideoMae(nn.Module):
    """VideoMAE encoder, a small patch decoder, and the LayerNorm of the pooled features, which is not trained.

    Args:
        size: dimensions of the encoder.
    """

    def __init__(self, size: VideoMaeSize = DEMO_SIZE):
        super().__init__()
        config = size.transformers_config()
        config.decoder_hidden_size = _DECODER_WIDTH
        config.decoder_num_hidden_layers = _DECODER_DEPTH
        config.decoder_num_attention_heads = _DECODER_HEADS
        config.decoder_intermediate_size = 4 * _DECODER_WIDTH
        config.norm_pix_loss = True
        self.autoencoder = VideoMAEForPreTraining(config)
        self.fc_norm = nn.LayerNorm(size.width, eps=LAYER_NORM_EPS).requires_grad_(False)

    def forward(self, views: torch.Tensor, masked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct the masked patches of the first view, and compute the features of both views.

        Args:
            views: (n, 2, f, 3, h, w) in [0, 1], two views of each window.
            masked: (n, 2, patches) bool, with equally many masked patches in each row.

        Returns:
            Mean squared error of the first views' masked patches, normalized per patch; and the features (n, 2, width)
            of both views.
        """
        output = self.autoencoder(views[:, 0], bool_masked_pos=masked[:, 0], output_hidden_states=True)
        first, loss = output.hidden_states[-1], cast(torch.Tensor, output.loss)
        second = self.autoencoder.videomae(views[:, 1], masked[:, 1]).last_hidden_state
        return loss, self.fc_norm(torch.stack([first.mean(1), second.mean(1)], dim=1))


def feature_weights(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert the state of a `SelfSupervisedVideoMae` to that of a `VideoFeatures`: encoder and LayerNorm."""
    prefix = "autoencoder.videomae."
    encoder = {f"encoder.{name.removeprefix(prefix)}": v for name, v in state_dict.items() if name.startswith(prefix)}
    return encoder | {name: value for name, value in state_dict.items() if name.startswith("fc_norm.")}


class VideoMaeStep:
    """Training step: error of the masked patches, contrastive loss, and a penalty on features that do not vary.

    At first the features contain little but what all windows of a clip share, so the contrastive loss alone does not
    fall; the penalty makes them vary within a clip.

    Args:
        network: the network to train.
        size: dimensions of its encoder.
    """

    export_name = "videomae.pt"

    def __init__(self, network: SelfSupervisedVideoMae, size: VideoMaeSize = DEMO_SIZE):
        self.network = network
        self.size = size

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `MaskedWindows`."""
        views, masked = two_views(batch, self.size.image_size)
        with plain_attention(views.device):
            masked_loss, features = model(views, masked)
        features = features.float().unflatten(0, batch["pixels"].shape[:2])
        contrast, accuracy = contrastive_loss(features)
        penalty = deviation_penalty(features)
        loss = masked_loss + contrast + _DEVIATION_WEIGHT * penalty
        metrics = {"masked_loss": masked_loss, "contrast_loss": contrast, "missing_spread": penalty, "found": accuracy}
        return StepResult(loss, {name: value.detach() for name, value in metrics.items()})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write the encoder for `latentsync.judges.videomae.load_small_videomae`."""
        save_small_videomae(path, self.size, feature_weights(state_dict), global_step)


def contrastive_loss(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute InfoNCE among the windows of each clip.

    Args:
        features: (b, w, 2, width) of both views of w windows per clip.

    Returns:
        The loss, and the share of windows whose second view is the nearest to the first.
    """
    units = F.normalize(features, dim=-1)
    logits = units[:, :, 0] @ units[:, :, 1].mT / _TEMPERATURE
    target = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    loss = (F.cross_entropy(logits.mT, target) + F.cross_entropy(logits, target)) / 2
    return loss, (logits.argmax(-1) == target).float().mean()


def deviation_penalty(features: torch.Tensor) -> torch.Tensor:
    """Return how far the deviation of features (b, w, 2, width) over a clip's windows is below the minimum, scalar.

    This is the variance term of VICReg (arXiv 2105.04906), within clips.
    """
    deviation = (features.var(1) + 1e-6).sqrt()
    return F.relu(_MIN_DEVIATION - deviation).mean()


class VideoMaeValidator:
    """Metrics on held-out clips, with the same windows in every call.

    * `masked_loss`: error of the masked patches.
    * `trivial_loss`: error of predicting the mean of every patch.
    * `found`: share of windows whose second view is the nearest among its clip's windows.
    * Squared distances between the unit features of a window and of a corrupted copy (0 equal, 2 unrelated):
      `shuffled_*` with that share of its frames permuted, `lips_*` with the lower half from that many frames later,
      `lips_frozen` with the lower half of the first frame, `other_clip` with the frames of another clip.

    Args:
        clips: held-out clips.
        size: dimensions of the network.
    """

    def __init__(self, clips: Sequence[Clip], size: VideoMaeSize):
        self.windows = MaskedWindows(clips, _VALIDATION_SEED, size)
        self.clips, self.size = clips, size

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the metrics of a `SelfSupervisedVideoMae`."""
        features = VideoFeatures(self.size)
        features.load_state_dict(feature_weights(model.state_dict()))
        features.eval().to(next(model.parameters()).device)
        return self.tasks(model) | self.distances(features)

    @torch.no_grad()
    def tasks(self, model: nn.Module) -> dict[str, float]:
        """Return `masked_loss`, `trivial_loss` and `found`."""
        device = next(model.parameters()).device
        rows = []
        for index in range(len(self.clips)):
            batch = {
                name: value.to(device) if isinstance(value, torch.Tensor) else value
                for name, value in collate([self.windows[ItemKey(index, 0)]]).items()
            }
            views, masked = two_views(batch, self.size.image_size)
            loss, features = model(views, masked)
            rows.append([float(loss), _trivial_loss(model, views, masked), float(contrastive_loss(features[None])[1])])
        return dict(zip(("masked_loss", "trivial_loss", "found"), np.mean(rows, axis=0).tolist(), strict=True))

    @torch.no_grad()
    def distances(self, features: VideoFeatures) -> dict[str, float]:
        """Return the mean distance for each kind of corruption."""
        device = features.fc_norm.weight.device
        rows: list[Mapping[str, float]] = []
        for index, clip in enumerate(self.clips):
            other = self.clips[(index + 1) % len(self.clips)]
            windows = corrupted_windows(
                clip, other, self.size.num_frames, np.random.default_rng([_VALIDATION_SEED, index])
            )
            frames = torch.from_numpy(np.stack(list(windows.values()))).float().to(device) / 127.5 - 1
            units = F.normalize(features(frames), dim=1)
            distances = (units[1:] - units[:1]).square().sum(1).tolist()
            rows.append(dict(zip(list(windows)[1:], distances, strict=True)))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _trivial_loss(model: nn.Module, views: torch.Tensor, masked: torch.Tensor) -> float:
    """Return the loss of predicting 0, the mean of every normalized patch."""
    head = [model.get_parameter(f"{_DECODER_HEAD}.{kind}") for kind in ("weight", "bias")]
    kept = [parameter.clone() for parameter in head]
    try:
        for parameter in head:
            parameter.zero_()
        return float(model(views, masked)[0])
    finally:
        for parameter, value in zip(head, kept, strict=True):
            parameter.copy_(value)


VIDEOMAE: DemoNetwork[DemoRun, SelfSupervisedVideoMae] = DemoNetwork(
    description="Train the small VideoMAE, a stand-in for VideoMAE-v2.",
    schema=DemoRun,
    build_model=lambda run, initial: SelfSupervisedVideoMae(DEMO_SIZE),
    build_dataset=lambda clips, seed: MaskedWindows(clips, seed, DEMO_SIZE),
    build_step=lambda run, network, items: VideoMaeStep(network, DEMO_SIZE),
    build_validator=lambda clips: VideoMaeValidator(clips, DEMO_SIZE),
)
