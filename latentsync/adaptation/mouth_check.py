"""Generate a person's mouth with given weights, for the footage's own and for foreign speech, and measure it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.adaptation.footage import FPS
from latentsync.adaptation.mouth_metrics import MouthMetrics, mean_metrics, measure_mouth
from latentsync.adaptation.mouth_readers import ReadMouths
from latentsync.adaptation.speech_bank import speech_mouths
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.presets import find_preset
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import find_vae, locate

MAX_FRAMES = 250
"""Most frames of each check."""

Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class CheckVideo:
    """Footage and what it is made to say.

    Attributes:
        name: such as the name of the recording.
        crops: (f, R, R, 3) aligned crops.
        speech: (s,) driving samples at 16 kHz.
        is_own: the speech is the sound of the footage.
    """

    name: str
    crops: Crops
    speech: NDArray[np.float32]
    is_own: bool

    @property
    def num_frames(self) -> int:
        """Frames that have both crops and speech."""
        return min(len(self.crops), len(self.speech) * FPS // SAMPLE_RATE, MAX_FRAMES)


@dataclass(frozen=True)
class CheckResult:
    """Metrics of one set of weights at one guidance scale.

    Attributes:
        guidance_scale: of the sampling.
        videos: metrics by the name of the video.
        generated: generated crops by the name of the video.
        own: names of the videos that say what the footage says.
    """

    guidance_scale: float
    videos: Mapping[str, MouthMetrics]
    generated: Mapping[str, Crops]
    own: frozenset[str]

    def summary(self) -> dict[str, float]:
        """Return likeness on own speech, and everything else as the mean over foreign speech."""
        own = mean_metrics([self.videos[name] for name in self.own])
        foreign = mean_metrics([metrics for name, metrics in self.videos.items() if name not in self.own])
        return {name: own[name] for name in ("psnr_db", "ssim") if name in own} | foreign

    @property
    def opening(self) -> float:
        """Mean correlation of the opening with foreign speech."""
        return self.summary()["opening"]


class MouthCheck:
    """Checks weights on fixed videos.

    Args:
        run: configuration of the U-Net.
        options: sampling; the guidance scale is an argument of each check.
        videos: footage and speech.
        reader: reads mouths in crops.
        device, dtype: of the networks.
    """

    def __init__(
        self,
        run: UNetRun,
        options: LipsyncOptions,
        videos: Sequence[CheckVideo],
        reader: ReadMouths,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._run, self._options, self._videos, self._reader = run, options, videos, reader
        self._device, self._dtype = device, dtype
        self._codec = self._load_vae(None)
        self._encoder = load_whisper_encoder(locate(run.audio.whisper), device, dtype)
        self._footage = [reader(video.crops[: video.num_frames]) for video in videos]

    def __call__(
        self,
        unet: Path,
        guidance_scale: float,
        progress: Callable[[int, int], None] = lambda done, total: None,
        decoder: Path | None = None,
    ) -> CheckResult:
        """Generate all videos with the weights of a file, and measure them.

        Args:
            unet: weights of the U-Net, or their low-rank changes.
            guidance_scale: of the sampling.
            progress: receives finished and all frames.
            decoder: weights that replace those of the VAE's decoder, or None.
        """
        run = self._run
        codec = self._codec if decoder is None else self._load_vae(decoder)
        network = load_unet(run.model, unet, self._device, self._dtype, run.data.resolution)
        synthesizer = WindowSynthesizer(network.requires_grad_(False), codec, run.data.resolution)
        options = replace(self._options, guidance_scale=guidance_scale)
        dubber = CropDubber(synthesizer, run.data.num_frames, run.data.video_fps, options)
        metrics, generated = {}, {}
        done, total = 0, sum(video.num_frames for video in self._videos)
        progress(done, total)
        for video, footage in zip(self._videos, self._footage, strict=True):
            crops = video.crops[: video.num_frames]
            speech = video.speech[: video.num_frames * SAMPLE_RATE // FPS]
            features = WhisperFeatures(self._encoder, ArraySamples(speech))
            result = dubber(crops, features, lambda frames, before=done: progress(before + frames, total))
            expected = speech_mouths(speech, len(crops))
            mouths = (self._reader(result), footage)
            metrics[video.name] = measure_mouth(result, crops, mouths, expected, video.is_own)
            generated[video.name] = result
            done += video.num_frames
        own = frozenset(video.name for video in self._videos if video.is_own)
        return CheckResult(guidance_scale, metrics, generated, own)

    def _load_vae(self, decoder: Path | None) -> LatentCodec:
        return load_vae(find_vae(self._run.vae), self._device, self._dtype, decoder)

    def sheet_rows(self, results: Sequence[CheckResult], num_columns: int = 8) -> list[Crops]:
        """Return rows of a contact sheet: for each video the footage, and below it every result."""
        rows = []
        for video in self._videos:
            columns = np.linspace(0, video.num_frames - 1, num_columns + 2).astype(int)[1:-1]
            rows += [video.crops[columns], *(result.generated[video.name][columns] for result in results)]
        return rows


def sampling_options(run: UNetRun) -> LipsyncOptions:
    """Return the sampling that inference uses by default with a configuration."""
    options = LipsyncOptions(run.run.inference_steps, run.run.guidance_scale)
    return options if run.run.preset is None else replace(options, **find_preset(run.run.preset).options())
