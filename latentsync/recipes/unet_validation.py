"""What the U-Net's training shows of itself: its loss on held-out windows, and held-out faces repainted and scored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from latentsync.data.batching import ItemKey, collate
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.video_window import read_frames
from latentsync.judges.sync_score import SyncScorer
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.media.writer import VideoWriter
from latentsync.models.unet import UNet3DConditionModel
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.storage.temporary_files import temporary_folder
from latentsync.training.training_step import StepContext
from latentsync.training.unet_step import UNetStep

SHEET_COLUMNS = 8
_REMEDY = "set TMPDIR to another folder"


class ClipRows:
    """Cached audio features of a clip, as `frame_tokens` wants them."""

    def __init__(self, rows: np.ndarray) -> None:
        self.num_rows = len(rows)
        self._rows = rows

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) as (stop - start, layers+1, width) float32."""
        return torch.from_numpy(np.array(self._rows[start:stop], dtype=np.float32))


class UNetValidator:
    """Looks at the U-Net on held-out clips; the trainer calls it.

    Args:
        step: the training step, for the loss.
        windows: held-out items (`UNetDataset`); item (index, 0) of every index is taken.
        num_windows: how many of them.
        batch_size: windows at once.
        clips: held-out clips to repaint, each to the speech of the next.
        num_videos: how many of them.
        num_frames: frames of a video.
        num_window_frames: frames of one window.
        features: cached features of the held-out clips.
        options: sampling.
        scorer: scores the sync of the results and of the real clips; None scores nothing.
    """

    def __init__(
        self,
        step: UNetStep,
        windows: Dataset,
        num_windows: int,
        batch_size: int,
        clips: Sequence[TrainingClip],
        num_videos: int,
        num_frames: int,
        num_window_frames: int,
        features: ClipFeatures,
        options: LipsyncOptions,
        fps: int,
        scorer: SyncScorer | None,
    ) -> None:
        self.step = step
        self.windows = windows
        self.keys = [ItemKey(index % len(clips), index // len(clips)) for index in range(num_windows)]
        self.batch_size = batch_size
        self.clips = clips
        self.num_videos = min(num_videos, len(clips))
        self.num_frames = num_frames
        self.num_window_frames = num_window_frames
        self.features = features
        self.options = options
        self.fps = fps
        self.scorer = scorer

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Figures of a network, and pictures and videos in `folder`."""
        assert isinstance(model, UNet3DConditionModel)
        figures = self.loss(model, global_step)
        for number in range(self.num_videos):
            for name, value in self.repaint(model, number, folder).items():
                figures[name] = figures.get(name, 0.0) + value / self.num_videos
        return figures

    @torch.no_grad()
    def loss(self, model: nn.Module, global_step: int) -> dict[str, float]:
        """Mean loss and terms over the held-out windows, always with the same noise."""
        device = next(model.parameters()).device
        context = StepContext(global_step, max(global_step, 1))
        sums: dict[str, float] = {}
        for start in range(0, len(self.keys), self.batch_size):
            keys = self.keys[start : start + self.batch_size]
            batch = collate([self.windows[key] for key in keys])
            batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
            result = self.step(model, batch, context)
            for name, value in {"loss": result.loss, **result.metrics}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(keys) / len(self.keys)
        return sums

    def repaint(self, unet: UNet3DConditionModel, number: int, folder: Path) -> dict[str, float]:
        """Repaints one clip to the next one's speech: video, contact sheet, and the sync beside the real clip's."""
        clip, speaker = self.clips[number], self.clips[(number + 1) % len(self.clips)]
        resolution = self.step.resolution
        num_frames = min(self.num_frames, clip.num_frames, speaker.num_frames)
        crops, spoken = (read_frames(one.path, range(num_frames), resolution) for one in (clip, speaker))
        synthesizer = WindowSynthesizer(unet, self.step.codec, resolution)
        dub = CropDubber(synthesizer, self.num_window_frames, self.fps, self.options)
        painted = dub(crops, ClipRows(self.features.whisper_rows(speaker)))
        folder.mkdir(parents=True, exist_ok=True)
        self._write_video(folder / f"video_{number}.mp4", np.concatenate([crops, painted], axis=2), speaker.path)
        chosen = np.linspace(0, num_frames - 1, SHEET_COLUMNS).astype(int)
        write_crop_sheet([crops[chosen], painted[chosen], spoken[chosen]], folder / f"video_{number}.png")
        return self._score(painted, spoken, speaker.path)

    def _write_video(self, path: Path, frames: np.ndarray, sound: Path) -> None:
        height, width = frames.shape[1:3]
        duration_s = len(frames) / self.fps
        with VideoWriter(path, width, height, self.fps, audio_path=sound, audio_duration_s=duration_s) as writer:
            for frame in frames:
                writer.write(frame)

    def _score(self, painted: np.ndarray, spoken: np.ndarray, sound: Path) -> dict[str, float]:
        if self.scorer is None:
            return {}
        with temporary_folder(remedy=_REMEDY) as folder, AudioSamples.decode(sound, folder) as samples:
            speech = samples.read(0, round(len(painted) / self.fps * SAMPLE_RATE))
        result, real = self.scorer.score(painted, speech), self.scorer.score(spoken, speech)
        return {
            "sync_confidence": result.confidence,
            "sync_confidence_real": real.confidence,
            "sync_offset": float(result.offset),
        }
