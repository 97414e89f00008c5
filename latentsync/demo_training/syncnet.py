"""The demo SyncNet: the published architecture at about 3 M parameters on 64 x 128 px lower halves.

Each picture window is compared with its own sound and with sound from at least 3 frames away. A linear head that
predicts the true mouth track from either embedding, dropped afterwards, takes the training off its initial plateau.
"""

import logging

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.config import load_config
from latentsync.demo_training.audio_encoder import augment_speech
from latentsync.demo_training.clip_set import Clip, find_clips
from latentsync.demo_training.image_augmentation import jitter_colour
from latentsync.demo_training.loop import TrainOptions, place_channels_last, train
from latentsync.demo_training.optimizer import WeightAverage, build_optimizers
from latentsync.demo_training.syncnet_run import SyncNetRun
from latentsync.models.checkpoint import load_syncnet, save_checkpoint
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.weights import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "syncnet.yaml"
NUM_FRAMES = 16
NEAREST_NEGATIVE = 3
_BATCH = 24
_VARIANTS_PER_CLIP = 3
_TRACK_WEIGHT = 3.0


class TrackedSyncNet(nn.Module):
    """The SyncNet with heads that predict opening and width of all frames from each embedding."""

    def __init__(self, config: SyncNetConfig):
        super().__init__()
        self.syncnet = StableSyncNet(config)
        self.width = config.visual_encoder.block_out_channels[-1]
        self.visual_track = nn.Linear(self.width, 2 * NUM_FRAMES)
        self.audio_track = nn.Linear(self.width, 2 * NUM_FRAMES)

    def tracks(self, vision: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit embeddings (b, d) to two tracks (b, 2 f)."""
        scale = self.width**0.5
        return self.visual_track(scale * vision), self.audio_track(scale * audio)


class SyncBatches:
    """Random windows: pictures, their sound, other sound of the same clip, and the true tracks."""

    def __init__(self, clips: list[Clip], seed: int):
        self.clips = clips
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.mels = [self._variants(clip) for clip in clips]

    def _variants(self, clip: Clip) -> list[torch.Tensor]:
        speech = clip.speech()
        others = [augment_speech(speech, self.rng) for _ in range(_VARIANTS_PER_CLIP - 1)]
        return [syncnet_mel(samples) for samples in (speech, *others)]

    def next(self, batch_size: int) -> dict[str, torch.Tensor]:
        """`frames` (b, 48, h, w), `mel` (2 b, 1, 80, 52) own sound first, `track` (2 b, 2 f) true at that sound."""
        pictures, mels, others, tracks, other_tracks = [], [], [], [], []
        for _ in range(batch_size):
            index = int(self.rng.integers(len(self.clips)))
            clip, mel = self.clips[index], self.mels[index][self.rng.integers(_VARIANTS_PER_CLIP)]
            last = len(clip.crops) - NUM_FRAMES
            start = int(self.rng.integers(last + 1))
            far = [s for s in range(last + 1) if abs(s - start) >= NEAREST_NEGATIVE]
            near = [s for s in far if abs(s - start) <= 15]
            other = int(self.rng.choice(near if near and self.rng.random() < 0.5 else far))
            pictures.append(lower_half(clip.crops[start : start + NUM_FRAMES]))
            mels.append(mel_window(mel, start))
            others.append(mel_window(mel, other))
            tracks.append(clip.frames_track[start : start + NUM_FRAMES].ravel())
            other_tracks.append(clip.frames_track[other : other + NUM_FRAMES].ravel())
        return {
            "frames": self._augmented(torch.stack(pictures)),
            "mel": torch.stack(mels + others)[:, None],
            "track": torch.from_numpy(np.stack(tracks + other_tracks)),
        }

    def _augmented(self, pictures: torch.Tensor) -> torch.Tensor:
        """One colour change a window (b, f, 3, h, w), half of them mirrored -> (b, 3 f, h, w) in [-1, 1]."""
        batch, _, _, height, width = pictures.shape
        tall = pictures.transpose(1, 2).reshape(batch, 3, -1, width) / 2 + 0.5
        tall = jitter_colour(tall, self.generator, 0.6) * 2 - 1
        mirrored = torch.rand(batch, generator=self.generator) < 0.5
        tall[mirrored] = tall[mirrored].flip(-1)
        return tall.unflatten(2, (NUM_FRAMES, height)).transpose(1, 2).flatten(1, 2)


def lower_half(crops: np.ndarray) -> torch.Tensor:
    """Crops (f, R, R, 3) uint8 to the lower half (f, 3, R/2, R) in [-1, 1]."""
    pixels = torch.from_numpy(np.array(crops[:, crops.shape[1] // 2 :])).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def train_syncnet(options: TrainOptions) -> None:
    """Trains on the clips below `options.data` and writes `<out>/stable_syncnet.pt` (fp16)."""
    torch.manual_seed(options.seed)
    run = load_config(CONFIG, SyncNetRun)
    model = TrackedSyncNet(run.model)
    if options.initial is not None:
        model.syncnet.load_state_dict(load_syncnet(run.model, options.initial).state_dict())
    place_channels_last(model, options.device)
    average = WeightAverage(model, 0.995)
    batches = SyncBatches(find_clips(options.data), options.seed)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        batch = {name: tensor.to(options.device) for name, tensor in batches.next(_BATCH).items()}
        with torch.autocast(options.device.type, torch.bfloat16):
            vision, audio = model.syncnet(batch["frames"].contiguous(memory_format=torch.channels_last), batch["mel"])
        vision, audio = vision.float(), audio.float()
        seen, heard = model.tracks(vision, audio)
        track_loss = (seen - batch["track"][: len(seen)]).square().mean() + (heard - batch["track"]).square().mean()
        similarity = (vision.repeat(2, 1) * audio).sum(1).clamp(1e-4, 1 - 1e-4)
        in_sync = (torch.arange(len(similarity), device=similarity.device) < len(vision)).float()
        loss = F.binary_cross_entropy(similarity, in_sync)
        accuracy = ((similarity > 0.5) == (in_sync > 0.5)).float().mean()
        figures = {"sync_loss": float(loss.detach()), "track_loss": float(track_loss.detach())}
        return loss + _TRACK_WEIGHT * (1 - fraction) * track_loss, figures | {"accuracy": float(accuracy)}

    def save(index: int) -> None:
        state = {name.removeprefix("syncnet."): value for name, value in average.state.items() if "syncnet." in name}
        extra = {"config": {"resolution": run.data.resolution}}
        save_checkpoint(options.out / "stable_syncnet.pt", state, index, extra, torch.float16)

    optimizers = build_optimizers(model, lr=1e-3, matrix_lr=6e-3, plain_names=("visual_track", "audio_track"))
    train(options, model, optimizers, step, save, average, name="syncnet")
