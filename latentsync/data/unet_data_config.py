"""Where the U-Net's clips are and what one training item of them holds."""

from dataclasses import dataclass

_LARGEST = {"resolution": 4096, "num_frames": 4096, "video_fps": 240, "num_mel_columns": 1 << 20}


@dataclass
class UNetDataConfig:
    """Clips and windows of the U-Net.

    Attributes:
        resolution: side of the aligned face crop, in pixels; clips of another size are resized.
        num_frames: frames of one window.
        video_fps: frames per second of the clips; clips at another rate are skipped.
        audio_sample_rate: samples per second the audio encoder hears (16000 is the only rate there is).
        num_mel_columns: mel columns of one window, for the SyncNet loss.
        train_clips: folder of clips, or a text file with one path a line.
        validation_clips: the same for held-out clips.
        cache_dir: folder for what is computed once per clip (audio features, latents).
        cache_latents: keep the VAE's latents of every clip (its distribution's mean) instead of encoding in every step.
        sample_latents: draw latents from the VAE's distribution in every step, as published, instead of its mean.
    """

    resolution: int = 256
    num_frames: int = 16
    video_fps: int = 25
    audio_sample_rate: int = 16000
    num_mel_columns: int = 52
    train_clips: str | None = None
    validation_clips: str | None = None
    cache_dir: str = "cache"
    cache_latents: bool = False
    sample_latents: bool = False

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at least 1")
            if getattr(self, name) > largest:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at most {largest}")
        if self.audio_sample_rate != 16000:
            raise ValueError(f"data.audio_sample_rate is {self.audio_sample_rate}: the models hear 16000")
        if self.cache_latents and self.sample_latents:
            raise ValueError("data.cache_latents keeps means, data.sample_latents draws anew: set one of them to false")

    @property
    def min_frames(self) -> int:
        """Frames a clip needs: one window, and a reference window beside it."""
        return 2 * self.num_frames
