"""The demo audio encoder: Whisper's format at 96 wide and 2 blocks, taught to hear the mouth.

A linear head on the last block predicts mouth opening and width at every 20 ms row; it is dropped afterwards. Clips are
heard at random positions, first alone, then several in one full 30 s piece with zeros after them, as in use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from latentsync.audio.whisper_model import (
    CHUNK_ROWS,
    NUM_MELS,
    WhisperEncoder,
    encoder_dimensions,
    save_whisper_encoder,
)
from latentsync.training.training_step import StepContext, StepResult

WIDTH = 96
NUM_LAYERS = 2
_NUM_HEADS = 4
_MAX_PADDING_ROWS = 60
_MAX_CLIPS_PER_PIECE = 5


def build_encoder() -> WhisperEncoder:
    """Untrained encoder of the demo's size."""
    return WhisperEncoder(encoder_dimensions(WIDTH, NUM_LAYERS, _NUM_HEADS))


class MouthHearer(nn.Module):
    """An encoder with a head that predicts the mouth track (b, rows, 2)."""

    def __init__(self, whisper: WhisperEncoder) -> None:
        super().__init__()
        self.whisper = whisper
        self.head = nn.Sequential(nn.LayerNorm(whisper.width), nn.Linear(whisper.width, 2))

    def forward(self, mel: torch.Tensor, first_position: int = 0) -> torch.Tensor:
        """Mels (b, 80, 2 rows), as if they began at row `first_position` of a piece -> track (b, rows, 2)."""
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        positions = cast(torch.Tensor, encoder.positional_embedding)
        x = x + positions[first_position : first_position + x.shape[1]]
        for block in encoder.blocks:
            x = block(x)
        return self.head(x)


@dataclass(frozen=True)
class HeardPieces:
    """Mels (b, 80, 2 rows), true tracks (b, rows, 2), and which rows count (b, rows, 1), 0 or 1."""

    mel: torch.Tensor
    track: torch.Tensor
    known: torch.Tensor


class AudioEncoderStep:
    """Squared and absolute error of the heard mouth and of its change from row to row.

    Args:
        hearer: encoder and head.
        full_pieces_from: share of the training after which full 30 s pieces are heard.
        num_pieces: full pieces in a step; they are filled with the batch's clips in order.
    """

    export_name = "whisper.pt"

    def __init__(self, hearer: MouthHearer, full_pieces_from: float, num_pieces: int) -> None:
        self.hearer = hearer
        self.full_pieces_from = full_pieces_from
        self.num_pieces = num_pieces

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.hearer

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch of `SpokenClips`; how it is laid out is drawn from its first item's seed."""
        generator = torch.Generator().manual_seed(int(batch["seed"][0]))
        if context.fraction < self.full_pieces_from:
            pieces = single_clips(batch, generator)
        else:
            pieces = full_pieces(batch, self.num_pieces, generator)
        num_rows = pieces.track.shape[1]
        position = int(torch.randint(CHUNK_ROWS - num_rows + 1, (), generator=generator))
        heard = model(pieces.mel, position).float()
        return StepResult(hearing_loss(heard, pieces), hearing_figures(heard.detach(), pieces))

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes the encoder without the head in openai-whisper's format."""
        prefix = "whisper."
        encoder = WhisperEncoder(self.hearer.whisper.dims)
        encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)})
        save_whisper_encoder(path, encoder)


def single_clips(batch: Mapping[str, Any], generator: torch.Generator) -> HeardPieces:
    """Every clip alone, with up to 1.2 s of zeros after it."""
    track, num_rows = batch["track"], batch["num_rows"]
    room = min(_MAX_PADDING_ROWS, CHUNK_ROWS + 1 - track.shape[1])
    padding = int(torch.randint(room, (), generator=generator))
    rows = torch.arange(track.shape[1] + padding, device=track.device)
    known = (rows < num_rows[:, None])[..., None].float()
    return HeardPieces(F.pad(batch["mel"], (0, 2 * padding)), F.pad(track, (0, 0, 0, padding)), known)


def full_pieces(batch: Mapping[str, Any], num_pieces: int, generator: torch.Generator) -> HeardPieces:
    """Pieces of 30 s with one to five clips each and zeros after them; clips that find no place are left out."""
    mel, track, num_rows = batch["mel"], batch["track"], batch["num_rows"].tolist()
    pieces = HeardPieces(
        mel.new_zeros(num_pieces, NUM_MELS, 2 * CHUNK_ROWS),
        track.new_zeros(num_pieces, CHUNK_ROWS, 2),
        track.new_zeros(num_pieces, CHUNK_ROWS, 1),
    )
    counts = torch.randint(1, _MAX_CLIPS_PER_PIECE + 1, (num_pieces,), generator=generator)
    next_clip = 0
    for piece, count in enumerate(counts.tolist()):
        end = 0
        for _ in range(count):
            clip = next_clip % len(num_rows)
            rows = min(num_rows[clip], CHUNK_ROWS - end)
            pieces.mel[piece, :, 2 * end : 2 * (end + rows)] = mel[clip, :, : 2 * rows]
            pieces.track[piece, end : end + rows] = track[clip, :rows]
            pieces.known[piece, end : end + rows] = 1
            end += rows
            next_clip += 1
    return pieces


def hearing_loss(heard: torch.Tensor, pieces: HeardPieces) -> torch.Tensor:
    """Error of the heard track (b, rows, 2) over the rows that count, that of its change twice."""
    known = pieces.known
    error = (heard - pieces.track) * known
    loss = (error.square().sum() + 0.2 * error.abs().sum()) / known.sum()
    change = (error.diff(dim=1) * known[:, 1:]).square().sum() / known.sum()
    return 10 * (loss + 2 * change)


def hearing_figures(heard: torch.Tensor, pieces: HeardPieces) -> dict[str, torch.Tensor | float]:
    """Correlation of opening and of width with the truth over all rows that count."""
    rows = pieces.known[..., 0] > 0
    heard, track = heard[rows], pieces.track[rows]
    opening, width = F.cosine_similarity(heard - heard.mean(0), track - track.mean(0), dim=0)
    return {"opening_correlation": opening, "width_correlation": width}
