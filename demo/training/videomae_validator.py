"""Is the small VideoMAE any good as a judge: does it fill in patches, and does it notice disorder and late lips?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from demo.synthetic.clip_set import Clip
from demo.training.videomae import MaskedRuns, find_other_view, judge_weights, two_views
from latentsync.data.batching import ItemKey, collate
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize

SHUFFLED_SHARES = (0.25, 0.5, 1.0)
LIP_SHIFTS = (1, 2, 4, 8)
_SEED = 1234
_HEAD = "autoencoder.decoder.head"


class VideoMaeValidator:
    """Figures on held-out clips, the same runs at every call.

    `masked_loss` is the error of the masked patches, `trivial_loss` that of predicting every patch's mean; `found` the
    share of runs whose other view is the nearest of its clip's runs. The distances are squared, between unit features
    of a true run and of the run with something wrong (0 equal, 2 unrelated): `shuffled_*` a share of its frames
    changed places, `lips_*` the lower half comes that many frames late, `lips_frozen` the lower half stands still,
    `other_clip` it is another clip's.

    Args:
        clips: held-out ones.
        size: of the network.
    """

    def __init__(self, clips: Sequence[Clip], size: VideoMaeSize):
        self.runs = MaskedRuns(clips, _SEED, size)
        self.clips, self.size = clips, size

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Figures of a `SelfTaughtVideoMae`."""
        features = VideoFeatures(self.size)
        features.load_state_dict(judge_weights(model.state_dict()))
        features.eval().to(next(model.parameters()).device)
        return self.tasks(model) | self.distances(features)

    @torch.no_grad()
    def tasks(self, model: nn.Module) -> dict[str, float]:
        """`masked_loss`, `trivial_loss` and `found`."""
        device = next(model.parameters()).device
        rows = []
        for index in range(len(self.clips)):
            batch = {
                name: value.to(device) if isinstance(value, torch.Tensor) else value
                for name, value in collate([self.runs[ItemKey(index, 0)]]).items()
            }
            views, masked = two_views(batch, self.size.image_size)
            loss, features = model(views, masked)
            rows.append([float(loss), _trivial_loss(model, views, masked), float(find_other_view(features[None])[1])])
        return dict(zip(("masked_loss", "trivial_loss", "found"), np.mean(rows, axis=0).tolist(), strict=True))

    @torch.no_grad()
    def distances(self, features: VideoFeatures) -> dict[str, float]:
        """Mean distance of each kind of fault."""
        device = features.fc_norm.weight.device
        rows: list[Mapping[str, float]] = []
        for index, clip in enumerate(self.clips):
            other = self.clips[(index + 1) % len(self.clips)]
            faults = faulty_runs(clip, other, self.size.num_frames, np.random.default_rng([_SEED, index]))
            frames = torch.from_numpy(np.stack(list(faults.values()))).float().to(device) / 127.5 - 1
            units = F.normalize(features(frames), dim=1)
            distances = (units[1:] - units[:1]).square().sum(1).tolist()
            rows.append(dict(zip(list(faults)[1:], distances, strict=True)))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _trivial_loss(model: nn.Module, views: torch.Tensor, masked: torch.Tensor) -> float:
    """What the network loses when its decoder says 0, which is the mean of every patch."""
    head = [model.get_parameter(f"{_HEAD}.{kind}") for kind in ("weight", "bias")]
    kept = [parameter.clone() for parameter in head]
    try:
        for parameter in head:
            parameter.zero_()
        return float(model(views, masked)[0])
    finally:
        for parameter, value in zip(head, kept, strict=True):
            parameter.copy_(value)


def faulty_runs(clip: Clip, other: Clip, num_frames: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The true run first, then the same with faults, each (f, 3, R, R) uint8."""
    start = int(generator.integers(len(clip.crops) - num_frames - max(LIP_SHIFTS) + 1))
    crops = clip.crops[start : start + num_frames + max(LIP_SHIFTS)].transpose(0, 3, 1, 2)
    true, half = crops[:num_frames], crops.shape[2] // 2

    def with_lips(lower: np.ndarray) -> np.ndarray:
        return np.concatenate([true[:, :, :half], lower[:, :, half:]], axis=2)

    faults = {"true": true}
    for share in SHUFFLED_SHARES:
        order = np.arange(num_frames)
        chosen = generator.permutation(num_frames)[: round(share * num_frames)]
        order[chosen] = np.roll(chosen, 1)
        faults[f"shuffled_{share:g}"] = true[order]
    for shift in LIP_SHIFTS:
        faults[f"lips_{shift}"] = with_lips(crops[shift : shift + num_frames])
    faults["lips_frozen"] = with_lips(np.repeat(true[:1], num_frames, axis=0))
    faults["other_clip"] = other.crops[start : start + num_frames].transpose(0, 3, 1, 2)
    return faults
