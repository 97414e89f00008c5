"""Validation of the U-Net: the loss on held-out windows, and generated videos with their sync scores."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.data.batching import ItemKey, collate
from latentsync.data.unet_dataset import UNetDataset
from latentsync.data.video_window import read_frames
from latentsync.judges.sync_score import SyncScorer
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.media.writer import VideoWriter
from latentsync.models.unet import UNet3DConditionModel
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.temporary_files import temporary_folder
from latentsync.training.training_step import StepContext
from latentsync.training.unet_step import UNetStep

SHEET_COLUMNS = 8
_REMEDY = "set TMPDIR to another folder"


class ClipRows:
    """Cached audio features of a clip, as `frame_tokens` takes them."""

    def __init__(self, rows: np.ndarray) -> None:
        self.num_rows = len(rows)
        self._rows = rows

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) as (stop - start, layers+1, width) float32."""
        return torch.from_numpy(np.array(self._rows[start:stop], dtype=np.float32))


class UNetValidator:
    """Validate the U-Net on held-out clips; see `latentsync.training.training_step.Validator`.

    Args:
        run: the configuration.
        step: the training step, for the loss.
        windows: held-out windows.
        scorer: scores the sync of generated and original videos; None scores nothing.
    """

    def __init__(self, run: UNetRun, step: UNetStep, windows: UNetDataset, scorer: SyncScorer | None) -> None:
        self.step, self.windows, self.scorer = step, windows, scorer
        self.clips, self.features = windows.clips, windows.features
        self.batch_size = run.training.batch_size
        self.num_window_frames, self.fps = run.data.num_frames, run.data.video_fps
        self.num_videos = min(run.validation.num_videos, len(self.clips))
        self.num_frames = run.validation.num_frames
        indices = range(run.validation.num_windows)
        self.keys = [ItemKey(index % len(self.clips), index // len(self.clips)) for index in indices]
        self.options = LipsyncOptions(
            num_inference_steps=run.run.inference_steps if run.distillation is None else run.distillation.num_steps,
            timestep_spacing="leading" if run.distillation is None else "trailing",
            guidance_scale=run.run.guidance_scale,
            overlap_frames=run.data.num_frames // 4,
        )

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the metrics of a network, and write images and videos into `folder`."""
        assert isinstance(model, UNet3DConditionModel)
        metrics = self.loss(model, global_step)
        for number in range(self.num_videos):
            for name, value in self.generate_video(model, number, folder).items():
                metrics[name] = metrics.get(name, 0.0) + value / self.num_videos
        return metrics

    @torch.no_grad()
    def loss(self, model: nn.Module, global_step: int) -> dict[str, float]:
        """Return the mean loss and its terms over the held-out windows, with the same noise every time."""
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

    def generate_video(self, unet: UNet3DConditionModel, number: int, folder: Path) -> dict[str, float]:
        """Lip-sync one clip to the speech of the next one.

        Writes a video (source beside result) and a contact sheet (source, result, and the clip that the speech comes
        from).

        Returns:
            Sync metrics of the result and of the clip that the speech comes from; empty without a scorer.
        """
        clip, speaker = self.clips[number], self.clips[(number + 1) % len(self.clips)]
        resolution = self.step.resolution
        num_frames = min(self.num_frames, clip.num_frames, speaker.num_frames)
        crops, spoken = (read_frames(one.path, range(num_frames), resolution) for one in (clip, speaker))
        synthesizer = WindowSynthesizer(unet, self.step.codec, resolution)
        dub = CropDubber(synthesizer, self.num_window_frames, self.fps, self.options)
        generated = dub(crops, ClipRows(self.features.whisper_rows(speaker)))
        folder.mkdir(parents=True, exist_ok=True)
        self._write_video(folder / f"video_{number}.mp4", np.concatenate([crops, generated], axis=2), speaker.path)
        columns = np.linspace(0, num_frames - 1, SHEET_COLUMNS).astype(int)
        write_crop_sheet([crops[columns], generated[columns], spoken[columns]], folder / f"video_{number}.png")
        return self._score(generated, spoken, speaker.path)

    def _write_video(self, path: Path, frames: np.ndarray, audio: Path) -> None:
        height, width = frames.shape[1:3]
        duration_s = len(frames) / self.fps
        with VideoWriter(path, width, height, self.fps, audio_path=audio, audio_duration_s=duration_s) as writer:
            for frame in frames:
                writer.write(frame)

    def _score(self, generated: np.ndarray, spoken: np.ndarray, audio: Path) -> dict[str, float]:
        if self.scorer is None:
            return {}
        with temporary_folder(remedy=_REMEDY) as folder, AudioSamples.decode(audio, folder) as samples:
            speech = samples.read(0, round(len(generated) / self.fps * SAMPLE_RATE))
        result, real = self.scorer.score(generated, speech), self.scorer.score(spoken, speech)
        return {
            "sync_confidence": result.confidence,
            "sync_confidence_real": real.confidence,
            "sync_offset": float(result.offset),
        }
