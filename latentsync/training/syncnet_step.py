"""Training step of the SyncNet: cross-entropy on the cosine of video and audio embeddings (arXiv 2412.09262)."""

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
"""Cross-entropy of a network that always predicts 0.5: the plateau at 0.693."""
_MARGIN = 1e-4
_HISTORY_LISTS = {
    "train_step_list": "train_step",
    "train_loss_list": "train_sync_loss",
    "val_step_list": "validation_step",
    "val_loss_list": "validation_sync_loss",
}


@dataclass
class PairsConfig:
    """Pairs of video and audio windows to compare.

    Attributes:
        windows_per_clip: windows of each clip of a batch. 1, as published: each video window is compared with its own
            audio and with one other audio window of the clip. More: with the audio of all windows of its clip, at no
            extra cost.
        negative_weight: share of negative pairs in the loss, in (0, 1); 0.5 as published. More lowers all similarities,
            and with them the best threshold.
        contrastive_weight: initial weight of the contrastive warm-up (InfoNCE over all windows of the batch, in both
            directions).
        contrastive_share: share of the training after which that weight has decayed to 0.
        temperature: temperature of InfoNCE.
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
        """Return the weight of the contrastive warm-up after `fraction` [0, 1] of the training."""
        return self.contrastive_weight * max(0.0, 1 - fraction / self.contrastive_share)


class SyncNetStep:
    """Training step of a StableSyncNet; `latentsync.data.syncnet_dataset` documents the batch.

    Args:
        syncnet: the network to train; called with frames (b, f c, h, w) and mels (b, 1, 80, columns).
        pairs: pairs to compare.
        min_offset_frames: windows of one clip that start closer together than this are no negative pairs.
        record: configuration stored in the exported file, such as {"resolution": 128}.
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
        """Return the loss of a batch.

        The metric `sync_loss` is the cross-entropy alone; in `accuracy` positives and negatives have equal weight.
        """
        num_windows = self.pairs.windows_per_clip
        frames, mel = batch["frames"], batch["mel"]
        if num_windows > 1:
            frames, mel = frames.flatten(0, 1), mel.flatten(0, 1)
        frames = stacked_frames(frames)
        mels = mel if num_windows > 1 else torch.cat([mel, batch["other_mel"]])
        video, audio = (embedding.float() for embedding in model(frames, mels))
        if num_windows > 1:
            starts, clips = batch["start"].flatten(), [clip for clip in batch["clip"] for _ in range(num_windows)]
            similarity = video @ audio.T
            same_clip, far = relations(clips, starts, self.min_offset_frames)
            positive, negative = similarity.diagonal(), similarity[same_clip & far]
        else:
            positive, negative = (video * audio[: len(video)]).sum(1), (video * audio[len(video) :]).sum(1)
            similarity = video @ audio[: len(video)].T
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
        """Write the weights in the published format, in half precision, with the published lists of losses."""
        lists = {name: list(history.get(column, [])) for name, column in _HISTORY_LISTS.items()}
        save_checkpoint(path, state_dict, global_step, {"config": self.record, **lists}, torch.float16)


def stacked_frames(frames: torch.Tensor) -> torch.Tensor:
    """Return windows (b, f, c, h, w) of pixels or latents in the layout of the network, frame-major (b, f c, h, w)."""
    return frames.flatten(1, 2)


def relations(clips: list[str], starts: torch.Tensor, min_offset_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two masks (n, n) of pairs of windows: of the same clip; starting at least `min_offset_frames` apart."""
    numbers = {clip: number for number, clip in enumerate(dict.fromkeys(clips))}
    indices = torch.tensor([numbers[clip] for clip in clips], device=starts.device)
    same_clip = indices[:, None] == indices
    return same_clip, (starts[:, None] - starts).abs() >= min_offset_frames


def cross_entropy(positive: torch.Tensor, negative: torch.Tensor, negative_weight: float = 0.5) -> torch.Tensor:
    """Return the binary cross-entropy of cosines in [0, 1]: weighted mean of the means of positives and negatives.

    Cosines are mapped linearly from [0, 1] to [1e-4, 1 - 1e-4], so that the logarithm and its gradient are finite. The
    gradient is that of this map also for cosines that rounding has moved out of [0, 1].
    """
    loss = -(1 - negative_weight) * _inner(positive).log().mean()
    return loss - negative_weight * (1 - _inner(negative)).log().mean() if negative.numel() else loss


def balanced_accuracy(positive: torch.Tensor, negative: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Return the mean of the share of accepted positives and the share of rejected negatives."""
    accepted = (positive > threshold).float().mean()
    refused = (negative <= threshold).float().mean() if negative.numel() else accepted
    return (accepted + refused) / 2


def contrastive_loss(similarity: torch.Tensor, others: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return InfoNCE in both directions.

    Args:
        similarity: (n, n) cosines of video and audio windows; the diagonal holds the positives.
        others: (n, n) bool, True for negative pairs.
        temperature: divisor of the cosines.
    """
    own = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    logits = (similarity / temperature).masked_fill(~(others | own), float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _inner(cosine: torch.Tensor) -> torch.Tensor:
    return _MARGIN + (1 - 2 * _MARGIN) * clamp_keep_gradient(cosine, 0, 1)


@dataclass
class WatchdogConfig:
    """When to warn about a loss that stays at chance.

    Attributes:
        patience_steps: optimizer steps after which the loss should be below chance; 0 disables the warning.
        margin: required distance from chance.
    """

    patience_steps: int = 1000
    margin: float = 0.01

    def __post_init__(self) -> None:
        if self.patience_steps < 0 or self.margin <= 0:
            raise ValueError("watchdog: patience_steps is 0 or more, margin above 0")


class ChanceWatchdog:
    """Trainer callback that warns if `sync_loss` has never fallen below chance, again each time the steps double.

    Args:
        config: when to warn.
        advice: suggested changes, the most effective first (`latentsync.recipes.train_syncnet.advice`).
    """

    def __init__(self, config: WatchdogConfig, advice: Sequence[str]) -> None:
        self.config = config
        self.advice = "; ".join(advice)
        self._lowest = float("inf")
        self._next_warning = config.patience_steps

    def __call__(self, global_step: int, metrics: dict[str, float]) -> str | None:
        """Add a row of training metrics; return the warning or None."""
        self._lowest = min(self._lowest, metrics.get("sync_loss", float("inf")))
        has_left = self._lowest < CHANCE_LOSS - self.config.margin
        if has_left or not self.config.patience_steps or global_step < self._next_warning:
            return None
        self._next_warning = 2 * global_step
        return f"sync_loss is still at chance ({CHANCE_LOSS:.3f}) after {global_step} steps: {self.advice}"
