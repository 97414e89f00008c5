"""Training items of rendered talking people in memory, without ffmpeg and without a speech synthesizer."""

from typing import Any

import numpy as np
import torch

from demo.synthetic.clip import TalkingClip
from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.audio.sample_source import SAMPLE_RATE, ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures, frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.batching import ItemKey, item_generator, item_seed
from latentsync.data.unet_dataset import UNetDataConfig, draw_windows
from latentsync.data.video_window import model_pixels
from latentsync.face.mask import keep_mask
from latentsync.models.vae import LatentCodec


class TalkingClips:
    """Render clips and return items as of `latentsync.data.unet_dataset.UNetDataset` with cached latents.

    Args:
        num_clips: number of people, each with other speech.
        config: resolution and number of frames per window.
        codec: encoder of the latents.
        encoder: encoder of the audio features.
        with_pixels: items also have "pixels" and "mel", for losses that need them.
        seed: seed of windows and random draws.
    """

    def __init__(
        self,
        num_clips: int,
        config: UNetDataConfig,
        codec: LatentCodec,
        encoder: WhisperEncoder,
        with_pixels: bool,
        seed: int = 0,
    ) -> None:
        self.config, self.with_pixels, self.seed = config, with_pixels, seed
        self.clips = [self._rendered(index, codec, encoder) for index in range(num_clips)]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip, length = self.clips[key.index], self.config.num_frames
        start, reference = draw_windows(item_generator(self.seed, key), len(clip["latents"]), length)
        item = {
            "audio": clip["audio"][start : start + length],
            "latents": clip["latents"][start : start + length],
            "masked_latents": clip["masked_latents"][start : start + length],
            "reference_latents": clip["latents"][reference : reference + length],
            "clip": f"rendered person {key.index}",
            "seed": item_seed(self.seed, key),
        }
        if self.with_pixels:
            item["pixels"] = clip["pixels"][start : start + length]
            mel = mel_window(clip["mel"], start, self.config.video_fps, self.config.num_mel_columns, repeat_last=True)
            item["mel"] = mel[None]
        return item

    @torch.inference_mode()
    def _rendered(self, index: int, codec: LatentCodec, encoder: WhisperEncoder) -> dict[str, np.ndarray]:
        seconds = (2 * self.config.num_frames + 2) / self.config.video_fps
        clip = TalkingClip(self.seed, index, seconds, speech=babble(seconds, seed=index))
        pixels = model_pixels(np.stack(list(clip.crops(self.config.resolution))))
        images = torch.from_numpy(pixels)
        features = WhisperFeatures(encoder, ArraySamples(clip.samples))
        arrays = {
            "audio": frame_tokens(features, range(len(pixels)), self.config.video_fps),
            "latents": codec.encode(images),
            "masked_latents": codec.encode(images * keep_mask(self.config.resolution)),
        }
        converted = {name: tensor.float().cpu().numpy() for name, tensor in arrays.items()}
        return converted | {"pixels": pixels, "mel": syncnet_mel(clip.samples).numpy()}


def babble(seconds: float, seed: int) -> np.ndarray:
    """Return vowel-like audio (n,) float32 at 16 kHz: syllables of a buzz with changing formants."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = rng.uniform(100, 220)
    wander = np.interp(time, np.linspace(0, seconds, 8), rng.uniform(0, 1, 8))
    sound = np.zeros_like(time)
    for harmonic in range(1, 24):
        frequency = harmonic * pitch
        loudness = sum(
            np.exp(-(((frequency - formant) / width) ** 2))
            for formant, width in ((300 + 600 * wander, 150), (900 + 1500 * wander, 300))
        )
        sound += loudness * np.sin(2 * np.pi * frequency * time)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6)), 0, 1)
    return (0.3 * sound * syllables / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32)
