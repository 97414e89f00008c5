"""One training step of the SyncNet: cross-entropy on the cosine of picture and sound (arXiv 2412.09262)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from latentsync.losses.sync_loss import clamp_keep_gradient
from latentsync.models.checkpoint import save_checkpoint
from latentsync.training.training_step import StepContext, StepResult

CHANCE_LOSS = math.log(2)
"""Cross-entropy of a network that answers 0.5 to everything: the famous 0.693."""
_MARGIN = 1e-4
_HISTORY_LISTS = {
    "train_step_list": "train_step",
    "train_loss_list": "train_sync_loss",
    "val_step_list": "validation_step",
    "val_loss_list": "validation_sync_loss",
}


@dataclass
class PairsConfig:
    """Which pictures and sounds are compared.

    Attributes:
        windows_per_clip: windows taken from each clip of a batch. 1: each picture meets its own sound and one other of
            the clip, as published. More: each picture meets the sounds of all windows of its clip, at no cost.
        negative_weight: weight, of 1, of the pairs that do not belong together; 0.5 as published. More lowers all
            cosines, and with them the threshold that is best.
        contrastive_weight: weight, at the start, of the warm start: a softmax over all sounds of the batch for each
            picture and over all pictures for each sound (InfoNCE).
        contrastive_share: share of the training after which that weight has gone down to 0.
        temperature: of that softmax.
    """

    windows_per_clip: int = 1
    negative_weight: float = 0.5
    contrastive_weight: float = 0.0
    contrastive_share: float = 0.5
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.windows_per_clip < 1:
            raise ValueError(f"pairs.windows_per_clip is at least 1, not {self.windows_per_clip}")
        if not 0 < self.negative_weight < 1:
            raise ValueError(f"pairs.negative_weight lies between 0 and 1, not {self.negative_weight}")
        if self.contrastive_weight < 0 or self.temperature <= 0 or not 0 < self.contrastive_share <= 1:
            raise ValueError(
                "pairs: contrastive_weight is 0 or more, temperature above 0, contrastive_share above 0 and at most 1"
            )

    def contrastive_weight_at(self, fraction: float) -> float:
        """Weight of the warm start when `fraction` [0, 1] of the training is done."""
        return self.contrastive_weight * max(0.0, 1 - fraction / self.contrastive_share)


class SyncNetStep:
    """Trains a StableSyncNet; `latentsync.data.syncnet_dataset` and `.window_groups` say what the batch holds.

    Args:
        syncnet: the network to train; called with frames (b, f c, h, w) and mels (b, 1, 80, columns).
        pairs: which pictures and sounds are compared.
        min_offset_frames: windows of one clip that begin closer than this are not told apart.
        record: what the exported file says about itself, such as {"resolution": 128}.
    """

    export_name = "stable_syncnet.pt"

    def __init__(
        self,
        syncnet: nn.Module,
        pairs: PairsConfig,
        min_offset_frames: int,
        record: Mapping[str, Any],
    ) -> None:
        self.model = syncnet
        self.pairs = pairs
        self.min_offset_frames = min_offset_frames
        self.record = dict(record)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch; `sync_loss` is the cross-entropy alone, `accuracy` counts both kinds of pairs equally."""
        num_windows = self.pairs.windows_per_clip
        frames, mel = batch["frames"], batch["mel"]
        if num_windows > 1:
            frames, mel = frames.flatten(0, 1), mel.flatten(0, 1)
        frames = stacked_frames(frames)
        sounds = mel if num_windows > 1 else torch.cat([mel, batch["other_mel"]])
        seen, heard = (embedding.float() for embedding in model(frames, sounds))
        if num_windows > 1:
            starts, clips = batch["start"].flatten(), [clip for clip in batch["clip"] for _ in range(num_windows)]
            similarity = seen @ heard.T
            same_clip, far = relations(clips, starts, self.min_offset_frames)
            positive, negative = similarity.diagonal(), similarity[same_clip & far]
        else:
            positive, negative = (seen * heard[: len(seen)]).sum(1), (seen * heard[len(seen) :]).sum(1)
            similarity = seen @ heard[: len(seen)].T
            same_clip, far = relations(batch["clip"], batch["start"], self.min_offset_frames)
        sync_loss = cross_entropy(positive, negative, self.pairs.negative_weight)
        metrics: dict[str, torch.Tensor | float] = {
            "sync_loss": cross_entropy(positive.detach(), negative.detach()),
            "accuracy": balanced_accuracy(positive.detach(), negative.detach()),
        }
        weight = self.pairs.contrastive_weight_at(context.fraction)
        if weight == 0:
            return StepResult(sync_loss, metrics)
        contrastive = contrastive_loss(similarity, ~same_clip | far, self.pairs.temperature)
        metrics["contrastive_loss"] = contrastive.detach()
        return StepResult(sync_loss + weight * contrastive, metrics)

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes the weights in the published format, in half precision, with the published lists of losses."""
        lists = {name: list(history.get(column, [])) for name, column in _HISTORY_LISTS.items()}
        save_checkpoint(path, state_dict, global_step, {"config": self.record, **lists}, torch.float16)


def stacked_frames(frames: torch.Tensor) -> torch.Tensor:
    """Windows (b, f, c, h, w) of pixels or latents as the network sees them, frame-major (b, f c, h, w)."""
    return frames.flatten(1, 2)


def relations(clips: list[str], starts: torch.Tensor, min_offset_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For all pairs of windows two masks (n, n): of one clip; begin at least `min_offset_frames` apart."""
    numbers = {clip: number for number, clip in enumerate(dict.fromkeys(clips))}
    indices = torch.tensor([numbers[clip] for clip in clips], device=starts.device)
    same_clip = indices[:, None] == indices
    return same_clip, (starts[:, None] - starts).abs() >= min_offset_frames


def cross_entropy(positive: torch.Tensor, negative: torch.Tensor, negative_weight: float = 0.5) -> torch.Tensor:
    """Binary cross-entropy of cosines in [0, 1]: a weighted mean of both kinds' means, however many there are of each.

    Cosines are mapped linearly from [0, 1] to [1e-4, 1 - 1e-4], so the logarithm and its gradient are finite. At the
    ends, and where rounding has moved a cosine past them, the gradient is that of this map.
    """
    loss = -(1 - negative_weight) * _inner(positive).log().mean()
    return loss - negative_weight * (1 - _inner(negative)).log().mean() if negative.numel() else loss


def balanced_accuracy(positive: torch.Tensor, negative: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Mean of the share of accepted positives and the share of refused negatives."""
    accepted = (positive > threshold).float().mean()
    refused = (negative <= threshold).float().mean() if negative.numel() else accepted
    return (accepted + refused) / 2


def contrastive_loss(similarity: torch.Tensor, others: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE in both directions of cosines (n pictures, n sounds) whose diagonal belongs together.

    Args:
        similarity: cosines.
        others: bool, the same shape: pairs that count as not belonging together.
        temperature: cosines are divided by it.
    """
    own = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    logits = (similarity / temperature).masked_fill(~(others | own), float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _inner(cosine: torch.Tensor) -> torch.Tensor:
    return _MARGIN + (1 - 2 * _MARGIN) * clamp_keep_gradient(cosine, 0, 1)


@dataclass
class WatchdogConfig:
    """When a loss counts as stuck.

    Attributes:
        patience_steps: optimizer steps after which the loss should be below chance; 0 never warns.
        margin: by how much.
    """

    patience_steps: int = 1000
    margin: float = 0.01

    def __post_init__(self) -> None:
        if self.patience_steps < 0 or self.margin <= 0:
            raise ValueError("watchdog: patience_steps is 0 or more, margin above 0")


class ChanceWatchdog:
    """A callback of the trainer: one line when `sync_loss` never fell below chance, again each time the steps double.

    Args:
        config: when a loss counts as stuck.
        advice: what to change, the most promising first (`latentsync.recipes.train_syncnet` knows the configuration).
    """

    def __init__(self, config: WatchdogConfig, advice: Sequence[str]) -> None:
        self.config = config
        self.advice = "; ".join(advice)
        self._lowest = float("inf")
        self._next_warning = config.patience_steps

    def __call__(self, global_step: int, metrics: dict[str, float]) -> str | None:
        """Takes a row of training metrics in; the warning, or None."""
        self._lowest = min(self._lowest, metrics.get("sync_loss", float("inf")))
        has_left = self._lowest < CHANCE_LOSS - self.config.margin
        if has_left or not self.config.patience_steps or global_step < self._next_warning:
            return None
        self._next_warning = 2 * global_step
        return f"sync_loss is still at chance ({CHANCE_LOSS:.3f}) after {global_step} steps: {self.advice}"
