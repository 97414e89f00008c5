"""The demo's stand-in for VideoMAE-v2: a small VideoMAE that teaches itself on synthetic clips, without labels.

Two tasks at once, both on masked runs of frames. Filling in the masked patches (VideoMAE, arXiv 2203.12602), which are
masked anywhere in space and time, so that a mouth must be filled in from the moments before and after. And finding
the same moment again: of two views of a run, with other patches and colours, the pooled features shall be nearer than
those of other moments of the same clip (InfoNCE, arXiv 1807.03748). The first task alone gives features that tell
people apart but hardly notice disorder in time; the published network learned to care for motion from labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers.models.videomae.modeling_videomae import VideoMAEForPreTraining

from demo.synthetic.clip_set import Clip
from latentsync.data.batching import ItemKey, item_generator
from latentsync.judges.videomae import LAYER_NORM_EPS, VideoMaeSize, save_small_videomae, to_unit_range
from latentsync.training.training_step import StepContext, StepResult
from latentsync.training.unet_step import plain_attention

DEMO_SIZE = VideoMaeSize(
    image_size=64, patch_size=8, tubelet_size=2, num_frames=16, width=128, depth=4, num_heads=4, mlp_width=256
)
RUNS_PER_CLIP = 8
_DECODER_WIDTH, _DECODER_DEPTH, _DECODER_HEADS = 64, 1, 2
_MASKED_SHARE = 0.75
_NEAREST_STARTS = 2
_GAIN, _OFFSET = 0.2, 0.08
_TEMPERATURE = 0.1
_WANTED_SPREAD, _SPREAD_WEIGHT = 0.6, 2.0


class SelfTaughtVideoMae(nn.Module):
    """Encoder, a small decoder for the patches, and the LayerNorm of the pooled features, whose scale stays 1."""

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
        """Looks at the visible patches of two views of each run.

        Args:
            views: (n, 2, f, 3, h, w) in [0, 1].
            masked: (n, 2, patches) bool, equally many in each row.

        Returns:
            Mean squared error of the first views' masked patches, each less its mean and over its spread; and the
            features (n, 2, width) of both views.
        """
        output = self.autoencoder(views[:, 0], bool_masked_pos=masked[:, 0], output_hidden_states=True)
        first, loss = output.hidden_states[-1], cast(torch.Tensor, output.loss)
        second = self.autoencoder.videomae(views[:, 1], masked[:, 1]).last_hidden_state
        return loss, self.fc_norm(torch.stack([first.mean(1), second.mean(1)], dim=1))


def judge_weights(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State of a `SelfTaughtVideoMae` to that of a `VideoFeatures`: encoder and LayerNorm."""
    prefix = "autoencoder.videomae."
    encoder = {f"encoder.{name.removeprefix(prefix)}": v for name, v in state_dict.items() if name.startswith(prefix)}
    return encoder | {name: value for name, value in state_dict.items() if name.startswith("fc_norm.")}


class MaskedRuns(Dataset):
    """Per item some runs of frames of one clip, and two ways to look at them all; named by `ItemKey`."""

    def __init__(self, clips: Sequence[Clip], seed: int, size: VideoMaeSize = DEMO_SIZE):
        self.clips = clips
        self.seed = seed
        self.size = size
        self.num_patches = (size.image_size // size.patch_size) ** 2 * (size.num_frames // size.tubelet_size)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """`pixels` (r, f, 3, R, R) uint8 of r runs; per view `masked` (2, patches), `gain`, `offset` (2, 3); `clip`."""
        clip = self.clips[key.index]
        generator = item_generator(self.seed, key)
        num_starts = (len(clip.crops) - self.size.num_frames) // _NEAREST_STARTS + 1
        starts = _NEAREST_STARTS * generator.permutation(num_starts)[:RUNS_PER_CLIP]
        runs = np.stack([clip.crops[start : start + self.size.num_frames] for start in starts])
        if generator.random() < 0.5:
            runs = runs[..., ::-1, :]
        order = generator.random((2, self.num_patches)).argsort(-1)
        return {
            "pixels": np.ascontiguousarray(runs.transpose(0, 1, 4, 2, 3)),
            "masked": order < int(_MASKED_SHARE * self.num_patches),
            "gain": (1 + generator.uniform(-_GAIN, _GAIN, (2, 3))).astype(np.float32),
            "offset": generator.uniform(-_OFFSET, _OFFSET, (2, 3)).astype(np.float32),
            "clip": str(clip.folder),
        }


class VideoMaeStep:
    """Error of the masked patches, plus the cross-entropy of finding each run's other view among its clip's runs.

    At first nearly all there is in the features is what the runs of a clip have in common, and no run can be found; so
    the features are also made to vary within a clip.

    Args:
        network: to train.
        size: dimensions of its encoder.
    """

    export_name = "videomae.pt"

    def __init__(self, network: SelfTaughtVideoMae, size: VideoMaeSize = DEMO_SIZE):
        self.network = network
        self.size = size

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch of `MaskedRuns`."""
        views, masked = two_views(batch, self.size.image_size)
        with plain_attention(views.device):
            masked_loss, features = model(views, masked)
        features = features.float().unflatten(0, batch["pixels"].shape[:2])
        contrast, accuracy = find_other_view(features)
        missing = missing_spread(features)
        figures = {"masked_loss": masked_loss, "contrast_loss": contrast, "missing_spread": missing, "found": accuracy}
        return StepResult(
            masked_loss + contrast + _SPREAD_WEIGHT * missing, {name: value.detach() for name, value in figures.items()}
        )

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes the encoder as `latentsync.judges.videomae.load_small_videomae` reads it."""
        save_small_videomae(path, self.size, judge_weights(state_dict), global_step)


def two_views(batch: Mapping[str, Any], image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Views (b r, 2, f, 3, h, w) in [0, 1] with changed colours, and their masks (b r, 2, patches)."""
    num_runs = batch["pixels"].shape[1]
    frames = to_unit_range(batch["pixels"].flatten(0, 1).float() / 127.5 - 1, image_size)[:, None]
    gain, offset, masked = (batch[name].repeat_interleave(num_runs, dim=0) for name in ("gain", "offset", "masked"))
    return (frames * gain[:, :, None, :, None, None] + offset[:, :, None, :, None, None]).clamp(0, 1), masked


def find_other_view(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (b, r, 2, width) to InfoNCE among the r runs of each clip, and the share of runs found."""
    units = F.normalize(features, dim=-1)
    logits = units[:, :, 0] @ units[:, :, 1].mT / _TEMPERATURE
    target = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    loss = (F.cross_entropy(logits.mT, target) + F.cross_entropy(logits, target)) / 2
    return loss, (logits.argmax(-1) == target).float().mean()


def missing_spread(features: torch.Tensor) -> torch.Tensor:
    """How far the spread of features (b, r, 2, width) over the r runs of a clip stays below the wanted one, scalar.

    The variance term of VICReg (arXiv 2105.04906), within clips.
    """
    spread = (features.var(1) + 1e-6).sqrt()
    return F.relu(_WANTED_SPREAD - spread).mean()
