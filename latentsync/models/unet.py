"""The denoising U-Net: the architecture of Stable Diffusion 1.5 for windows of frames, conditioned on Whisper features.

Parameters have the names and shapes of the published `latentsync_unet.pt`. Inside, frames are (b f, c, h, w) with
channels last in memory (see `latentsync.models.unet_blocks`).
"""

from dataclasses import asdict, dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from latentsync.models.attention import AudioCrossAttention, AudioKeysValues
from latentsync.models.cpu_inference import is_fused, uses_plain_layers
from latentsync.models.unet_blocks import DownBlock, FrameGroupNorm, MidBlock, UpBlock
from latentsync.models.unet_config import UNetConfig


@dataclass
class DeepFeatures:
    """Features of the coarse levels that DeepCache (arXiv 2312.00858) keeps between denoising steps.

    The coarse levels change slowly between neighbouring steps. A full step stores the input of the last up block. A
    step with `reuse` set predicts it and computes only the finest level: `conv_in`, the first down block without its
    downsampling, and the last up block, whose three skips are exactly those outputs.

    Attributes:
        reuse: True in steps that predict the features.
        extrapolate: predict along the line through the last two full steps (TaylorSeer, arXiv 2503.06923, order 1),
            which is 7 to 9 dB closer to all levels than the features of the last full step (docs/speed.md).
    """

    reuse: bool = False
    extrapolate: bool = True
    features: torch.Tensor | None = field(default=None, repr=False)
    _slope: torch.Tensor | None = field(default=None, repr=False)
    _age: int = 0

    def store(self, features: torch.Tensor) -> None:
        """Keep the features of a full step."""
        previous, self._slope = self.features, None
        if self.extrapolate and previous is not None and previous.shape == features.shape:
            self._slope = (features - previous) / (self._age + 1)
        self.features, self._age = features, 0

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features of the next step from those of the last full step."""
        self._age += 1
        return features if self._slope is None else torch.add(features, self._slope, alpha=self._age)


class UNet3DConditionModel(ModelMixin, ConfigMixin):
    """Predicts the noise of a window of latents from noisy, masked and reference latents, mask and audio."""

    _supports_gradient_checkpointing = True
    _repeated_blocks = ("ResnetBlock", "SpatialTransformer", "MotionModule")
    """Classes that diffusers' `compile_repeated_blocks` compiles (`latentsync.models.compilation`)."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 13,
        out_channels: int = 4,
        cross_attention_dim: int = 384,
        block_out_channels: list[int] | tuple[int, ...] = (320, 640, 1280, 1280),
        attention_levels: list[int] | tuple[int, ...] | None = None,
        layers_per_block: int = 2,
        attention_head_dim: int = 8,
        norm_num_groups: int = 32,
        add_audio_layer: bool = True,
        use_motion_module: bool = False,
        motion_module_resolutions: list[int] | tuple[int, ...] = (1, 2, 4, 8),
        motion_module_mid_block: bool = False,
        motion_module_decoder_only: bool = False,
        motion_module_max_frames: int = 24,
    ):
        """Initialize the network; see `UNetConfig` for the arguments and their limits."""
        super().__init__()
        config = UNetConfig(**{name: self.config[name] for name in UNetConfig.__dataclass_fields__})
        self.unet_config = config
        levels = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, levels[0], 3, padding=1)
        self.time_proj = Timesteps(levels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(levels[0], 4 * levels[0])
        self.down_blocks = nn.ModuleList([DownBlock(config, level) for level in range(config.num_levels)])
        self.mid_block = MidBlock(config)
        self.up_blocks = nn.ModuleList([UpBlock(config, level) for level in reversed(range(config.num_levels))])
        self.conv_norm_out = FrameGroupNorm(config.norm_num_groups, levels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(levels[0], config.out_channels, 3, padding=1)
        for parameter in (*self.conv_in.parameters(), *self.conv_out.parameters()):
            nn.init.zeros_(parameter)
        self.audio_attentions = [module for module in self.modules() if isinstance(module, AudioCrossAttention)]
        for index, attention in enumerate(self.audio_attentions):
            attention.layer_index = index

    @classmethod
    def from_unet_config(cls, config: UNetConfig) -> "UNet3DConditionModel":
        """Build an initialized network from a configuration."""
        return cls(**asdict(config))

    def prepare_audio(self, audio: torch.Tensor) -> AudioKeysValues:
        """Compute keys and values of every cross-attention from audio tokens (b, f, s, d), for all steps of a window.

        Raises:
            ValueError: d is not `cross_attention_dim`.
        """
        if audio.ndim != 4 or audio.shape[3] != self.unet_config.cross_attention_dim:
            expected = f"(b, f, s, {self.unet_config.cross_attention_dim})"
            raise ValueError(f"audio must be {expected}, not {tuple(audio.shape)}")
        tokens = audio.flatten(0, 1).to(self.conv_in.weight.dtype)
        layers = tuple(attention.keys_values(tokens) for attention in self.audio_attentions)
        return AudioKeysValues(layers, _num_leading_zeros(tokens) if is_fused(tokens) else 0)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | int,
        audio: torch.Tensor | AudioKeysValues,
        deep_features: DeepFeatures | None = None,
    ) -> torch.Tensor:
        """Predict the noise.

        Args:
            sample: (b, in_channels, f, h, w), h and w multiples of 2^(levels - 1).
            timestep: 0 to 999, a scalar or (b,).
            audio: tokens (b, f, s, d), or the result of `prepare_audio`.
            deep_features: store of DeepCache; None computes all levels.

        Returns:
            (b, out_channels, f, h, w) in the dtype of the parameters, or of autocast.
        """
        batch, _, num_frames = sample.shape[:3]
        self._check_sample(sample)
        if not isinstance(audio, AudioKeysValues):
            audio = self.prepare_audio(audio)
        time = self._embed_time(timestep, batch, sample.device)
        x = sample.to(self.conv_in.weight.dtype).transpose(1, 2).flatten(0, 1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        if torch.is_grad_enabled() and not x.requires_grad and any(p.requires_grad for p in self.parameters()):
            # torch 2.13 crashes in the backward pass of a channels-last group norm whose input needs no gradient
            x.requires_grad_()
        x = self._run_levels(x, time, audio, num_frames, deep_features)
        x = self.conv_out(F.silu(self.conv_norm_out(x, num_frames)))
        return x.unflatten(0, (batch, num_frames)).transpose(1, 2).contiguous()

    def new_deep_features(self) -> DeepFeatures:
        """Return an empty store of DeepCache, to be passed to every denoising step of a window.

        With `plain_layers` it does not extrapolate, as published.
        """
        return DeepFeatures(extrapolate=not uses_plain_layers())

    def _check_sample(self, sample: torch.Tensor) -> None:
        config, factor = self.unet_config, 2 ** (self.unet_config.num_levels - 1)
        if sample.shape[1] != config.in_channels:
            raise ValueError(f"the U-Net requires {config.in_channels} input channels, not {sample.shape[1]}")
        if sample.shape[3] % factor or sample.shape[4] % factor:
            raise ValueError(f"latent height and width must be multiples of {factor}, not {tuple(sample.shape[3:])}")
        if config.use_motion_module and sample.shape[2] > config.motion_module_max_frames:
            raise ValueError(f"a window has at most {config.motion_module_max_frames} frames, not {sample.shape[2]}")

    def _embed_time(self, timestep: torch.Tensor | int, batch: int, device: torch.device) -> torch.Tensor:
        timestep = torch.as_tensor(timestep, device=device).expand(batch)
        return self.time_embedding(self.time_proj(timestep).to(self.conv_in.weight.dtype))

    def _run_levels(
        self,
        x: torch.Tensor,
        time: torch.Tensor,
        audio: AudioKeysValues,
        num_frames: int,
        deep_features: DeepFeatures | None,
    ) -> torch.Tensor:
        finest_input = x
        x, finest_skips = self.down_blocks[0](x, time, audio, num_frames)
        if deep_features is not None and deep_features.reuse and deep_features.features is not None:
            deep = deep_features.predict(deep_features.features)
        else:
            deep = self._run_coarse_levels(x, time, audio, num_frames)
            if deep_features is not None:
                deep_features.store(deep)
        return self.up_blocks[-1](deep, [finest_input, *finest_skips], time, audio, num_frames)

    def _run_coarse_levels(
        self, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> torch.Tensor:
        """Compute the input of the finest up block from the output of the finest down block: what DeepCache skips."""
        skips: list[torch.Tensor] = []
        for finer, block in zip(self.down_blocks[:-1], self.down_blocks[1:], strict=True):
            x = cast(DownBlock, finer).downsample(x)
            skips.append(x)
            x, layer_outputs = block(x, time, audio, num_frames)
            skips.extend(layer_outputs)
        x = self.mid_block(x, time, audio, num_frames)
        for block in self.up_blocks[:-1]:
            x = block(x, skips, time, audio, num_frames)
        return x


def _num_leading_zeros(tokens: torch.Tensor) -> int:
    """Return the number of leading items (s, d) of (n, s, d) that are all zero."""
    has_audio = tokens.flatten(1).any(dim=1)
    return int(has_audio.byte().argmax()) if has_audio.any() else len(tokens)
