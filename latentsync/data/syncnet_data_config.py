"""Where the SyncNet's clips are and how its pairs of pictures and sound are drawn."""

from dataclasses import dataclass

from latentsync.models.syncnet_input import SyncNetInput

NEAR_FRAMES = 15
"""Negatives at most this far away are "near": the offsets that a sync score tells apart."""


@dataclass
class SyncNetDataConfig(SyncNetInput):
    """Clips, windows and pairs of a SyncNet.

    Attributes:
        audio_sample_rate: samples per second the mel is made of (16000 is the only rate there is).
        train_clips: folder of clips, or a text file with one path a line.
        validation_clips: the same for held-out clips.
        cache_dir: folder for what is computed once per clip (mels, latents).
        cache_frames: keep every clip's decoded frames (4 MB for 6 s of 128 px lower halves) instead of decoding for
            every item: for small sets on few cores.
        min_offset_frames: how far away the sound of a negative begins at least (published: 1).
        near_share: share of the negatives that are drawn from at most 15 frames away, where there are such.
        mirror: share of the windows that are mirrored left to right.
        colour_jitter: strength of one random colour change per window, 0 (none) to 1.
        mel_variants: number of mels kept per clip: the plain one, and others of changed sound (gain, spectrum, room,
            noise); each item takes one of them.
        audio_offset_frames: by how many frames the sound is moved against the picture; 0 except in studies of
            badly synchronised data.
    """

    audio_sample_rate: int = 16000
    train_clips: str | None = None
    validation_clips: str | None = None
    cache_dir: str = "cache"
    cache_frames: bool = False
    min_offset_frames: int = 1
    near_share: float = 0.0
    mirror: float = 0.0
    colour_jitter: float = 0.0
    mel_variants: int = 1
    audio_offset_frames: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_offset_frames", "mel_variants"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at least 1")
        for name in ("near_share", "mirror", "colour_jitter"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use 0 to 1")
        if self.audio_sample_rate != 16000:
            raise ValueError(f"data.audio_sample_rate is {self.audio_sample_rate}: the models hear 16000")
        if self.latent_space and (self.mirror or self.colour_jitter):
            raise ValueError("data.mirror and data.colour_jitter change pixels: set them to 0 with data.latent_space")
        if self.latent_space and self.lower_half:
            raise ValueError("data.latent_space sees whole crops: set data.lower_half to false")

    @property
    def min_frames(self) -> int:
        """Frames a clip needs: for every window another one `min_offset_frames` away, and room for the moved sound."""
        return self.num_frames + 2 * self.min_offset_frames - 1 + abs(self.audio_offset_frames)
