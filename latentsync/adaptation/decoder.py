"""Train the VAE's decoder on the frames of one person: finer skin, teeth and beards from the same latents."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from latentsync.data.augmentation import vary_frames
from latentsync.data.batching import ItemKey, collate, item_generator
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipDataset, ClipFeatures
from latentsync.data.video_window import model_pixels
from latentsync.judges.crop_measures import psnr_db, sharpness, to_crops
from latentsync.losses.reconstruction import mouth_pixel_weight, reconstruction_loss, texture_loss
from latentsync.models.vae import DECODER_WEIGHTS, LatentCodec, load_vae
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.adapted_weights import DECODER_WEIGHTS as DECODER_FILE
from latentsync.training.trainer import AfterStep, Trainer
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import StepContext, StepResult
from latentsync.weights import find_vae

_FRAMES_PER_ITEM = 4
_FLAT = 1e-3
"""Sharpness of an image without detail, in grey levels a pixel."""
_EMA_DECAY = 0.95
_SAVE_EVERY = 50
TEXTURE_WEIGHT = 2.0
"""Weight of `texture_loss`. Without it the decoder gains PSNR and loses sharpness."""


class DecoderDataset(ClipDataset):
    """Frames of clips with their latents; one item per clip and epoch, a function of (key, seed) alone.

    Keys of an item (n frames, R resolution; L, h, w of the latents):
        image: (n, 3, R, R) float32 in [-1, 1].
        latents: (n, L, h, w) float32.
        clip: path of the clip.
    """

    def __init__(self, clips: Sequence[TrainingClip], features: ClipFeatures, num_variants: int, seed: int) -> None:
        """Initialize the data set.

        Args:
            clips: the clips.
            features: their cache, with the latents of all variants prepared.
            num_variants: variants of every clip beside itself, see `vary_frames`.
            seed: of all random choices.
        """
        super().__init__(clips, features, 1, seed)
        self._num_variants = num_variants

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip, rng = self.clips[key.index], item_generator(self.seed, key)
        variant = int(rng.integers(self._num_variants + 1))
        chosen = np.sort(rng.integers(clip.num_frames, size=_FRAMES_PER_ITEM))
        frames = vary_frames(self.features.frames(clip, only_lower_half=False)[chosen], variant, clip.content_key)
        latents = self.features.latents(clip, variant)[chosen, 0].astype(np.float32)
        return {"image": model_pixels(frames), "latents": latents, "clip": str(clip.path)}


class Decoder(nn.Module):
    """The decoder of a VAE, of which only the weights in `DECODER_WEIGHTS` are trained.

    Args:
        codec: the VAE; its decoder is trained in place.
    """

    def __init__(self, codec: LatentCodec) -> None:
        super().__init__()
        self.vae = codec.vae
        self._scale, self._shift = codec.scale, codec.shift
        for name, weight in self.vae.named_parameters():
            weight.requires_grad_(name.startswith(DECODER_WEIGHTS))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents (n, L, h, w) to images (n, 3, R, R) in about [-1, 1]."""
        unscaled: Any = latents / self._scale + self._shift
        return self.vae.decode(unscaled, return_dict=False)[0]


class DecoderStep:
    """Training step: the reconstruction error, and the error of the amount of detail.

    Args:
        decoder: the network to train.
    """

    export_name = DECODER_FILE

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self._decoder

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `DecoderDataset`."""
        images, latents = batch["image"].flatten(0, 1), batch["latents"].flatten(0, 1)
        output = model(latents).float()
        weight = mouth_pixel_weight(images.shape[-1]).to(images).expand(len(images), -1, -1, -1)
        texture = texture_loss(output, images, weight)
        reconstruction = reconstruction_loss(output, images, weight)
        metrics: dict[str, torch.Tensor | float] = {
            "reconstruction": reconstruction.detach(),
            "texture": texture.detach(),
        }
        return StepResult(reconstruction + TEXTURE_WEIGHT * texture, metrics)

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write the decoder's weights in half precision."""
        state = {name.removeprefix("vae."): value for name, value in state_dict.items()}
        chosen = {name: value for name, value in state.items() if name.startswith(DECODER_WEIGHTS)}
        save_file({name: value.half().contiguous() for name, value in chosen.items()}, path)


def decoder_trainer(
    run: AdaptationRun,
    clips: Sequence[TrainingClip],
    features: ClipFeatures,
    length: TrainerConfig,
    after_step: AfterStep,
    is_shown: bool,
) -> Trainer:
    """Return the trainer of the decoder.

    Args:
        run: configuration of the adaptation.
        clips: frames of the person.
        features: their cache, with latents prepared.
        length: folder, device, steps and minutes of the training.
        after_step: see `Trainer`.
        is_shown: show a progress bar in a terminal.
    """
    decoder, training = run.adaptation.decoder, run.training
    config = replace(
        length,
        batch_size=decoder.batch_size,
        optimizer=decoder.optimizer,
        ema_decay=_EMA_DECAY,
        mixed_precision=training.mixed_precision,
        gradient_checkpointing=False,
        save_every=_SAVE_EVERY,
        validate_every=0,
        validate_minutes=None,
    )
    step = DecoderStep(Decoder(load_vae(find_vae(run.vae))))
    dataset = DecoderDataset(clips, features, run.data.frame_variants, training.seed)
    return Trainer(
        config, step, dataset, collate, resolved_config=asdict(run), after_step=after_step, is_shown=is_shown
    )


@torch.inference_mode()
def decoded_quality(codec: LatentCodec, clip: TrainingClip, features: ClipFeatures) -> tuple[float, float]:
    """Return the PSNR in dB of a clip's frames decoded from their latents, and the sharpness relative to the frames."""
    frames = features.frames(clip, only_lower_half=False)
    latents = torch.from_numpy(features.latents(clip)[:, 0].astype(np.float32))
    decoded = to_crops(codec.decode(latents))
    return psnr_db(decoded, frames), sharpness(decoded) / max(sharpness(frames), _FLAT)
