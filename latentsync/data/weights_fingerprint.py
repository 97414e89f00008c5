"""Short names for the weights that cached features depend on."""

from collections.abc import Mapping

import torch

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.models.vae import LatentCodec
from latentsync.storage.content_cache import bytes_key, cache_key

_ENCODING_PARTS = ("encoder.", "quant_conv.")


def encoder_fingerprint(encoder: WhisperEncoder) -> str:
    """Name (40 hex digits) of an audio encoder's weights."""
    return _fingerprint(encoder.state_dict())


def codec_fingerprint(codec: LatentCodec) -> str:
    """Name (40 hex digits) of what decides a VAE's latents: its encoder, scale and shift."""
    state = {name: value for name, value in codec.vae.state_dict().items() if name.startswith(_ENCODING_PARTS)}
    return cache_key(_fingerprint(state), str(codec.scale), str(codec.shift))


def _fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    parts = []
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        parts.append(f"{name} {values.shape} {bytes_key(values.tobytes())}")
    return cache_key(*parts)
