"""The demo audio encoder: Whisper's format with width 96 and 2 blocks, trained to predict the mouth from speech.

A linear head on the last block predicts mouth opening and width at every 20 ms row; the exported encoder is without
it. Clips are placed at random positions, first one at a time, then several in one full chunk of 30 s as in inference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from demo.synthetic.clip_metrics import track_correlations
from demo.synthetic.clip_set import Clip
from demo.training.demo_network import DemoNetwork, DemoRun
from demo.training.speech_clips import SpeechChunks, SpeechClips, full_chunks, single_clips
from latentsync.audio.whisper_model import (
    CHUNK_ROWS,
    WhisperEncoder,
    encoder_dimensions,
    load_whisper_encoder,
    save_whisper_encoder,
)
from latentsync.data.batching import ItemKey, collate
from latentsync.training.training_step import StepContext, StepResult
from latentsync.weights import locate_initial

_WIDTH, _NUM_LAYERS, _NUM_HEADS = 96, 2, 4
_VALIDATION_SEED = 1234


@dataclass
class AudioEncoderRun(DemoRun):
    """Root configuration of the demo audio encoder (`configs/demo/audio_encoder.yaml`).

    Attributes:
        initial: encoder to start from, in the working folder or the repository; None initializes it at random.
        full_chunks_from: share of the training after which full chunks of 30 s replace single clips.
        num_chunks: full chunks per step.
    """

    initial: str | None = None
    full_chunks_from: float = 0.7
    num_chunks: int = 6

    def __post_init__(self) -> None:
        if not 0 <= self.full_chunks_from <= 1 or self.num_chunks < 1:
            raise ValueError("full_chunks_from must be in [0, 1], num_chunks at least 1")


class MouthTrackNetwork(nn.Module):
    """Audio encoder with a head that predicts the mouth track.

    Args:
        whisper: the encoder.
    """

    def __init__(self, whisper: WhisperEncoder) -> None:
        super().__init__()
        self.whisper = whisper
        self.head = nn.Sequential(nn.LayerNorm(whisper.width), nn.Linear(whisper.width, 2))

    def forward(self, mel: torch.Tensor, first_position: int = 0) -> torch.Tensor:
        """Predict opening and width.

        Args:
            mel: (b, 80, 2 rows).
            first_position: row of the 30 s chunk at which the mel starts.

        Returns:
            Mouth track (b, rows, 2).
        """
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        positions = cast(torch.Tensor, encoder.positional_embedding)
        x = x + positions[first_position : first_position + x.shape[1]]
        for block in encoder.blocks:
            x = block(x)
        return self.head(x)


class AudioEncoderStep:
    """Training step: squared and absolute error of the mouth track and of its change from row to row.

    Args:
        network: encoder and head.
        full_chunks_from: share of the training after which full chunks of 30 s are used.
        num_chunks: full chunks per step, filled with the clips of the batch in order.
    """

    export_name = "whisper.pt"

    def __init__(self, network: MouthTrackNetwork, full_chunks_from: float, num_chunks: int) -> None:
        self.network = network
        self.full_chunks_from = full_chunks_from
        self.num_chunks = num_chunks

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `SpeechClips`; the seed of its first item determines the layout."""
        generator = torch.Generator().manual_seed(int(batch["seed"][0]))
        if context.fraction < self.full_chunks_from:
            chunks = single_clips(batch, generator)
        else:
            chunks = full_chunks(batch, self.num_chunks, generator)
        num_rows = chunks.track.shape[1]
        position = int(torch.randint(CHUNK_ROWS - num_rows + 1, (), generator=generator))
        predicted = model(chunks.mel, position).float()
        return StepResult(track_loss(predicted, chunks), {**_known_correlations(predicted.detach(), chunks)})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write the encoder without its head in openai-whisper's format."""
        prefix = "whisper."
        encoder = WhisperEncoder(self.network.whisper.dims)
        encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)})
        save_whisper_encoder(path, encoder)


def track_loss(predicted: torch.Tensor, chunks: SpeechChunks) -> torch.Tensor:
    """Return the error of a predicted track (b, rows, 2) over the known rows, plus twice that of its change."""
    known = chunks.known
    error = (predicted - chunks.track) * known
    loss = (error.square().sum() + 0.2 * error.abs().sum()) / known.sum()
    change = (error.diff(dim=1) * known[:, 1:]).square().sum() / known.sum()
    return 10 * (loss + 2 * change)


def _known_correlations(predicted: torch.Tensor, chunks: SpeechChunks) -> dict[str, torch.Tensor]:
    rows = chunks.known[..., 0] > 0
    return track_correlations(predicted[rows], chunks.track[rows])


class MouthTrackValidator:
    """Correlations of predicted and true tracks of held-out clips, laid out in full chunks."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.items = SpeechClips(clips, _VALIDATION_SEED, num_variants=1)

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the metrics of a `MouthTrackNetwork`."""
        batch = collate([self.items[ItemKey(index, 0)] for index in range(len(self.items))])
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        chunks = full_chunks(batch, max(len(self.items) // 3, 1), generator)
        device = next(model.parameters()).device
        predicted = torch.cat([model(mel.to(device)).float().cpu() for mel in chunks.mel.split(1)])
        return {name: float(value) for name, value in _known_correlations(predicted, chunks).items()}


def _build_network(run: AudioEncoderRun, initial: Path | None) -> MouthTrackNetwork:
    if initial is None:
        return MouthTrackNetwork(WhisperEncoder(encoder_dimensions(_WIDTH, _NUM_LAYERS, _NUM_HEADS)))
    return MouthTrackNetwork(load_whisper_encoder(initial).train().requires_grad_(True))


AUDIO_ENCODER: DemoNetwork[AudioEncoderRun, MouthTrackNetwork] = DemoNetwork(
    description="Train the audio encoder, in Whisper's format, to predict the mouth from speech.",
    schema=AudioEncoderRun,
    build_model=_build_network,
    build_dataset=SpeechClips,
    build_step=lambda run, network, items: AudioEncoderStep(network, run.full_chunks_from, run.num_chunks),
    build_validator=MouthTrackValidator,
    find_initial=locate_initial,
)
