"""Preview of a training: one window of held-out footage, generated with its own speech as inference does."""

from pathlib import Path

from torch import nn

from latentsync.adaptation.mouth_check import sampling_options
from latentsync.adaptation.observer import Observer
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import clip_samples
from latentsync.data.video_window import read_frames
from latentsync.judges.crop_measures import mouth_psnr_db
from latentsync.models.lora import trained_unet
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.recipes.unet_run import UNetRun


class Preview:
    """Generates a window of the held-out clip; see `latentsync.training.training_step.Validator`.

    It costs the denoising of one window, and its time does not count as training.

    Args:
        run: configuration of the U-Net.
        held_out: clip that is not trained on.
        codec: the VAE.
        encoder: the audio encoder.
        observer: receives the crops.
    """

    def __init__(
        self, run: UNetRun, held_out: TrainingClip, codec: LatentCodec, encoder: WhisperEncoder, observer: Observer
    ) -> None:
        self._run, self._clip, self._codec, self._encoder, self._observer = run, held_out, codec, encoder, observer

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the PSNR of the mouth in dB, and pass the crops to the observer; `folder` is not used."""
        data = self._run.data
        footage = read_frames(self._clip.path, range(data.num_frames), data.resolution)
        synthesizer = WindowSynthesizer(trained_unet(model), self._codec, data.resolution)
        dub = CropDubber(synthesizer, data.num_frames, data.video_fps, sampling_options(self._run))
        generated = dub(footage, WhisperFeatures(self._encoder, ArraySamples(clip_samples(self._clip))))
        self._observer.on_preview(global_step, footage, generated)
        return {"mouth_psnr_db": mouth_psnr_db(generated, footage)}
