"""What the U-Net trains on: each clip's VAE latents and audio features, computed once and kept on disk."""

import hashlib
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.frame_tokens import frame_rows
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.demo_training.clip_set import FRAMES_PER_SECOND, Clip
from latentsync.face.mask import keep_mask
from latentsync.models.vae import LatentCodec

logger = logging.getLogger(__name__)

_BATCH = 16


@dataclass(frozen=True)
class LatentClip:
    """A stretch of a clip as the U-Net sees it.

    Attributes:
        first_frame: where in the clip the stretch begins.
        clean: latents of the crops (f, L, h, w) float16.
        masked: latents of the crops times the mask (f, L, h, w) float16.
        rows: audio features (rows, layers+1, width) float16.
    """

    first_frame: int
    clean: np.ndarray
    masked: np.ndarray
    rows: np.ndarray

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Audio tokens (f, 10 (layers+1), width) float32 of the stretch's frames [start, stop)."""
        frames = range(self.first_frame + start, self.first_frame + stop)
        numbers = [frame_rows(frame, Fraction(FRAMES_PER_SECOND), len(self.rows)) for frame in frames]
        return self.rows[np.array(numbers)].reshape(stop - start, -1, self.rows.shape[-1]).astype(np.float32)


def encoders_fingerprint(codec: LatentCodec, encoder: WhisperEncoder) -> str:
    """Short name for the weights that decide the latents and the audio features."""
    digest = hashlib.sha256(str(codec.scale).encode())
    vae = {
        name: value for name, value in codec.vae.state_dict().items() if name.startswith(("encoder.", "quant_conv."))
    }
    for tensor in (*vae.values(), *encoder.state_dict().values()):
        digest.update(tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]


def latent_clips(
    clips: list[Clip], num_frames: int, codec: LatentCodec, encoder: WhisperEncoder, cache: Path
) -> list[LatentClip]:
    """Encodes a random stretch of `num_frames` of each clip, or reads it from `cache`.

    The cache belongs to one VAE, one audio encoder and one length: name it so.
    """
    cache.mkdir(parents=True, exist_ok=True)
    encoded = []
    for index, clip in enumerate(clips):
        path = cache / f"{clip.folder.parent.name}-{clip.folder.name}.npz"
        if not path.is_file():
            first = int(np.random.default_rng(index).integers(max(len(clip.crops) - num_frames, 0) + 1))
            content = _encode(clip, first, num_frames, codec, encoder)
            with open(path.with_suffix(".part"), "wb") as file:
                np.savez(
                    file, first_frame=content.first_frame, clean=content.clean, masked=content.masked, rows=content.rows
                )
            path.with_suffix(".part").replace(path)
            if index % 20 == 0:
                logger.info("encoded clip %d of %d", index + 1, len(clips))
        with np.load(path) as stored:
            encoded.append(LatentClip(int(stored["first_frame"]), stored["clean"], stored["masked"], stored["rows"]))
    return encoded


@torch.inference_mode()
def _encode(clip: Clip, first_frame: int, num_frames: int, codec: LatentCodec, encoder: WhisperEncoder) -> LatentClip:
    keep = keep_mask(clip.crops.shape[1])
    clean, masked = [], []
    for crops in np.array_split(clip.crops[first_frame : first_frame + num_frames], -(-num_frames // _BATCH)):
        pixels = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)
        images = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        clean.append(codec.encode(images, _BATCH).half().numpy())
        masked.append(codec.encode(images * keep, _BATCH).half().numpy())
    features = WhisperFeatures(encoder, ArraySamples(clip.speech()))
    rows = features.rows(0, features.num_rows).half().numpy()
    return LatentClip(first_frame, np.concatenate(clean), np.concatenate(masked), rows)
