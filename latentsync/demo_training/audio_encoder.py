"""The demo audio encoder: Whisper's format at 96 wide and 2 blocks, taught to hear the mouth.

A linear head on the last block predicts mouth opening and width at every 20 ms row; it is dropped afterwards. Clips are
heard at random positions, first alone, then several in one full 30 s piece with zeros after them, as in use.
"""

import logging
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_mel import WhisperMel
from latentsync.audio.whisper_model import (
    PIECE_ROWS,
    WhisperEncoder,
    encoder_dimensions,
    load_whisper_encoder,
    save_whisper_encoder,
)
from latentsync.demo_training.clip_set import AUDIO_SAMPLE_RATE, Clip, find_clips
from latentsync.demo_training.loop import TrainOptions, train
from latentsync.demo_training.optimizer import WeightAverage, build_optimizers

logger = logging.getLogger(__name__)

WIDTH = 96
NUM_LAYERS = 2
_NUM_HEADS = 4
_FULL_PIECES_FROM = 0.7
_SHORT_BATCH, _FULL_BATCH = 32, 6
_MAX_SHORT_PADDING_ROWS = 60
_VARIANTS_PER_CLIP = 5


class MouthHearer(nn.Module):
    """The encoder with a head that predicts the mouth track (b, rows, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.whisper = WhisperEncoder(encoder_dimensions(WIDTH, NUM_LAYERS, _NUM_HEADS))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2))

    def forward(self, mel: torch.Tensor, first_position: int = 0) -> torch.Tensor:
        """Mels (b, 80, 2 rows), as if they began at row `first_position` of a piece -> track (b, rows, 2)."""
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        positions = cast(torch.Tensor, encoder.positional_embedding)
        x = x + positions[first_position : first_position + x.shape[1]]
        for block in encoder.blocks:
            x = block(x)
        return self.head(x)


def augment_speech(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain, a tilt of the spectrum, a little room, and noise at 15 to 50 dB below the speech."""
    spectrum = np.fft.rfft(samples)
    frequency = np.linspace(0, 1, len(spectrum))
    knots = rng.uniform(-7, 7, 6) * (rng.random() < 0.7)
    spectrum = spectrum * 10 ** (np.interp(frequency**0.5, np.linspace(0, 1, 6), knots) / 20)
    if rng.random() < 0.3:
        delay = rng.uniform(0.004, 0.03) * AUDIO_SAMPLE_RATE
        spectrum = spectrum * (1 + rng.uniform(0.1, 0.4) * np.exp(-1j * np.pi * frequency * delay))
    speech = np.fft.irfft(spectrum, len(samples))
    level = np.sqrt(np.mean(speech**2)) + 1e-6
    white = np.fft.rfft(rng.standard_normal(len(samples)))
    colour = (frequency + 0.01) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(white * colour, len(samples))
    noise *= level * 10 ** (-rng.uniform(15, 50) / 20) / np.sqrt(np.mean(noise**2))
    gain = 10 ** (rng.uniform(-15, 6) / 20)
    return (gain * (speech + noise)).clip(-1, 1).astype(np.float32)


def clip_mel(samples: np.ndarray) -> torch.Tensor:
    """Whisper's normalised log-mel (80, frames) of samples (n,), an even number of frames."""
    mel = WhisperMel(ArraySamples(samples))
    return mel.frames(0, mel.num_frames // 2 * 2)


class SpeechBatches:
    """Mels of the clips' speech, plain and augmented, with the true mouth track of their rows."""

    def __init__(self, clips: list[Clip], seed: int):
        self.rng = np.random.default_rng(seed)
        self.variants: list[tuple[torch.Tensor, torch.Tensor]] = []
        for clip in clips:
            speech, track = clip.speech(), torch.from_numpy(clip.track[::2].copy())
            for variant in range(_VARIANTS_PER_CLIP):
                mel = clip_mel(augment_speech(speech, self.rng) if variant else speech)
                rows = min(mel.shape[1] // 2, len(track))
                self.variants.append((mel[:, : 2 * rows], track[:rows]))

    def next(self, batch_size: int, num_rows: int, num_clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mels (b, 80, 2 rows), tracks (b, rows, 2) and which rows count (b, rows, 1); zeros after the clips."""
        mels = torch.zeros(batch_size, 80, 2 * num_rows)
        tracks, known = torch.zeros(batch_size, num_rows, 2), torch.zeros(batch_size, num_rows, 1)
        for item in range(batch_size):
            end = 0
            for _ in range(num_clips):
                mel, track = self.variants[self.rng.integers(len(self.variants))]
                rows = min(len(track), num_rows - end)
                mels[item, :, 2 * end : 2 * (end + rows)] = mel[:, : 2 * rows]
                tracks[item, end : end + rows] = track[:rows]
                known[item, end : end + rows] = 1
                end += rows
        return mels, tracks, known


def train_audio_encoder(options: TrainOptions) -> None:
    """Trains on the clips below `options.data` and writes `<out>/whisper.pt`."""
    torch.manual_seed(options.seed)
    model = MouthHearer().to(options.device)
    if options.initial is not None:
        model.whisper.load_state_dict(load_whisper_encoder(options.initial, options.device).state_dict())
    average = WeightAverage(model, 0.99)
    batches = SpeechBatches(find_clips(options.data), options.seed)
    clip_rows = max(len(track) for _, track in batches.variants)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        if options.initial is None and fraction < _FULL_PIECES_FROM:
            num_rows = clip_rows + int(batches.rng.integers(_MAX_SHORT_PADDING_ROWS))
            mel, track, known = batches.next(_SHORT_BATCH, num_rows, 1)
        else:
            num_rows = PIECE_ROWS
            mel, track, known = batches.next(_FULL_BATCH, num_rows, int(batches.rng.integers(1, 6)))
        position = int(batches.rng.integers(PIECE_ROWS - num_rows + 1))
        mel, track, known = (tensor.to(options.device) for tensor in (mel, track, known))
        with torch.autocast(options.device.type, torch.bfloat16):
            heard = model(mel, position)
        error = (heard.float() - track) * known
        loss = (error.square().sum() + 0.2 * error.abs().sum()) / known.sum()
        change = (error.diff(dim=1) * known[:, 1:]).square().sum() / known.sum()
        return 10 * (loss + 2 * change), correlations(heard.detach().float(), track, known)

    def save(index: int) -> None:
        state = {name.removeprefix("whisper."): value for name, value in average.state.items() if "whisper." in name}
        encoder = WhisperEncoder(encoder_dimensions(WIDTH, NUM_LAYERS, _NUM_HEADS))
        encoder.load_state_dict(state)
        save_whisper_encoder(options.out / "whisper.pt", encoder)

    matrix_lr = 1e-2 if options.initial is None else 4e-3
    optimizers = build_optimizers(model, lr=2e-3, matrix_lr=matrix_lr, plain_names=("head",))
    train(options, model, optimizers, step, save, average, name="audio_encoder")


def correlations(heard: torch.Tensor, track: torch.Tensor, known: torch.Tensor) -> dict[str, float]:
    """Correlation of opening and of width over all rows that count."""
    rows = known[..., 0] > 0
    figures = {}
    for index, name in enumerate(("opening", "width")):
        pair = torch.stack([heard[..., index][rows], track[..., index][rows]])
        figures[f"{name}_correlation"] = float(torch.corrcoef(pair)[0, 1])
    return figures
