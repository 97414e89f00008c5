"""VideoMAE (arXiv 2203.12602, v2: 2303.16727): motion features of a window of frames, used by the TREPA loss.

The published ViT-g is loaded into transformers' VideoMAEModel by renaming its weights. Small networks of the same
kind are stored as {"config": {...}, "state_dict": {...}} with transformers' names, matrices in float16.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.models.videomae.configuration_videomae import VideoMAEConfig
from transformers.models.videomae.modeling_videomae import VideoMAEModel, get_sinusoid_encoding_table

from latentsync.errors import CheckpointError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file

LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True)
class VideoMaeSize:
    """Dimensions of a VideoMAE encoder; the defaults are the published ViT-g.

    Attributes:
        image_size: side of the square frames, in pixels.
        patch_size: side of a patch, in pixels.
        tubelet_size: frames per patch.
        num_frames: frames per window.
        width: channels of a token.
        depth: number of transformer blocks.
        num_heads: number of attention heads.
        mlp_width: hidden channels of the feed-forward layers.
    """

    image_size: int = 224
    patch_size: int = 14
    tubelet_size: int = 2
    num_frames: int = 16
    width: int = 1408
    depth: int = 40
    num_heads: int = 16
    mlp_width: int = 6144

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1:
            raise ValueError(f"all dimensions of a VideoMAE must be at least 1, not {self}")
        if self.image_size % self.patch_size or self.num_frames % self.tubelet_size or self.width % self.num_heads:
            raise ValueError(
                f"{self}: image_size, num_frames, width must be multiples of patch_size, tubelet_size, num_heads"
            )

    def transformers_config(self) -> VideoMAEConfig:
        """Return the configuration for transformers: exact GELU, no key bias, LayerNorm eps 1e-6, mean pooling."""
        return VideoMAEConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            tubelet_size=self.tubelet_size,
            num_frames=self.num_frames,
            hidden_size=self.width,
            num_hidden_layers=self.depth,
            num_attention_heads=self.num_heads,
            intermediate_size=self.mlp_width,
            hidden_act="gelu",
            layer_norm_eps=LAYER_NORM_EPS,
            qv_bias=True,
            use_mean_pooling=True,
        )


class VideoFeatures(nn.Module):
    """A VideoMAE encoder, mean pooling over its tokens, and a LayerNorm.

    Attributes:
        size: dimensions of the encoder.
        recompute: True for gradient checkpointing of every block: one window of the ViT-g in bfloat16 keeps 0.23 GiB of
            activations instead of 2.25 GiB, with the same features and gradients. No effect without gradients.
    """

    def __init__(self, size: VideoMaeSize):
        super().__init__()
        self.size = size
        self.recompute = False
        self.encoder = VideoMAEModel(size.transformers_config())
        self.fc_norm = nn.LayerNorm(size.width, eps=LAYER_NORM_EPS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (b, f, 3, h, w) in [-1, 1] to features (b, width), not normalized.

        Frames are resized to the network's size (bicubic, no antialiasing), mapped to [0, 1] and clamped. As in the
        published training, they are not standardized by mean and standard deviation.
        """
        frames = to_unit_range(frames, self.size.image_size).to(self.fc_norm.weight.dtype)
        return self.fc_norm(self._tokens(frames).mean(1))

    def _tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (b, f, 3, h, w) in [0, 1] to the last block's tokens (b, s, width)."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self.encoder(frames).last_hidden_state
        tokens = self.encoder.embeddings(frames, None)
        for block in self.encoder.encoder.layer:
            tokens = checkpoint(block, tokens, use_reentrant=False, preserve_rng_state=False)  # blocks have no dropout
        return tokens


def to_unit_range(frames: torch.Tensor, image_size: int) -> torch.Tensor:
    """Resize frames (b, f, 3, h, w) in [-1, 1] to squares and map them to [0, 1]."""
    flat = F.interpolate(frames.flatten(0, 1), (image_size, image_size), mode="bicubic", align_corners=False)
    return (flat / 2 + 0.5).clamp(0, 1).unflatten(0, frames.shape[:2])


def load_published_videomae(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    size: VideoMaeSize | None = None,
) -> VideoFeatures:
    """Load `vit_g_hybrid_pt_1200e_ssv2_ft.pth` with frozen parameters; its classifier is ignored.

    Args:
        path: the file; its weights are at the top level or under the key `model` or `module`.
        device: device of the network.
        dtype: dtype of its parameters.
        size: dimensions, for a file with the same names but another size; None is the ViT-g.

    Raises:
        CheckpointError: the file is missing, damaged, or no VideoMAE of this size.
    """
    size = size or VideoMaeSize()
    content = read_weight_file(path, TRAINING_DOWNLOAD)
    state_dict = next((content[key] for key in ("model", "module") if isinstance(content.get(key), Mapping)), content)
    weights = convert_published_names(state_dict, size.depth, path)
    return _build(size, weights, path, device, dtype)


def convert_published_names(weights: Mapping[str, torch.Tensor], depth: int, path: Path) -> dict[str, torch.Tensor]:
    """Rename published weights to the names of `VideoFeatures`.

    A block's `qkv.weight` is split in three; queries and values have biases, keys have none. The position embedding is
    a fixed sinusoid in both and not stored. `head.*` is dropped.

    Args:
        weights: published weights by name.
        depth: number of transformer blocks.
        path: the file, for the error message.

    Raises:
        CheckpointError: weights are missing.
    """
    simple = {
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
    }
    names = {
        f"{old}.{kind}": f"{new}.{kind}"
        for old, new in (("patch_embed.proj", "encoder.embeddings.patch_embeddings.projection"), ("fc_norm", "fc_norm"))
        for kind in ("weight", "bias")
    }
    converted = {}
    try:
        for index in range(depth):
            old, new = f"blocks.{index}", f"encoder.encoder.layer.{index}"
            names |= {
                f"{old}.{a}.{kind}": f"{new}.{b}.{kind}" for a, b in simple.items() for kind in ("weight", "bias")
            }
            parts = weights[f"{old}.attn.qkv.weight"].chunk(3)
            for part, name in zip(parts, ("query", "key", "value"), strict=True):
                converted[f"{new}.attention.attention.{name}.weight"] = part
            converted[f"{new}.attention.attention.query.bias"] = weights[f"{old}.attn.q_bias"]
            converted[f"{new}.attention.attention.value.bias"] = weights[f"{old}.attn.v_bias"]
        return converted | {new: weights[old] for old, new in names.items()}
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error.args[0]}: it is not the VideoMAE expected") from None


def save_small_videomae(
    path: Path, size: VideoMaeSize, state_dict: Mapping[str, torch.Tensor], global_step: int = 0
) -> None:
    """Write the weights of a `VideoFeatures` and its size atomically; matrices in float16."""
    weights = {name: stored_precision(tensor.detach().cpu()).contiguous() for name, tensor in state_dict.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save({"global_step": global_step, "config": asdict(size), "state_dict": weights}, temporary)


def stored_precision(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as stored: float16, but vectors in float32, since the last LayerNorm may have large scales."""
    return tensor.to(torch.float16 if tensor.ndim > 1 else torch.float32)


def load_small_videomae(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoFeatures:
    """Load a file of `save_small_videomae` with frozen parameters.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    content = read_weight_file(path, TRAINING_DOWNLOAD)
    config, weights = content.get("config"), content.get("state_dict")
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(f"{path} has no config and state_dict: give a file written by demo.training")
    try:
        size = VideoMaeSize(**{str(name): int(value) for name, value in config.items()})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has invalid VideoMAE dimensions ({error}): use another file") from None
    return _build(size, weights, path, device, dtype)


def _build(
    size: VideoMaeSize,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    device: torch.device | str,
    dtype: torch.dtype,
) -> VideoFeatures:
    with torch.device("meta"):
        network = VideoFeatures(size)
    embeddings = network.encoder.embeddings
    embeddings.position_embeddings = get_sinusoid_encoding_table(embeddings.num_patches, size.width)
    fill_network(network, weights, path)
    return network.to(device=device, dtype=dtype).eval().requires_grad_(False)
