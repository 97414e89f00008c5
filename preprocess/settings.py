"""All settings of the data pipeline, as a YAML gives them, and the steps that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from preprocess.step import Step
from preprocess.steps.step_1_broken import BrokenConfig, BrokenStep
from preprocess.steps.step_2_resample import ResampleConfig, ResampleStep
from preprocess.steps.step_3_shots import ShotsConfig, ShotsStep
from preprocess.steps.step_4_segments import SegmentsConfig, SegmentsStep
from preprocess.steps.step_5_faces import FacesConfig, FacesStep
from preprocess.steps.step_6_affine import AffineConfig, AffineStep
from preprocess.steps.step_7_sync import SyncConfig, SyncStep
from preprocess.steps.step_8_quality import QualityConfig, QualityStep

NUM_STEPS = 8
_READERS_OF_FACES = (6, 7)


@dataclass(frozen=True)
class PreprocessConfig:
    """The root configuration.

    Attributes:
        resolution: side of the finished clips in pixels, and the smallest face that passes; steps 5 and 6 get it.
        skip_steps: numbers of steps that let every clip pass.
        seed: of the split into training and validation.
        validation_share: share of the source videos that are held out for validation, 0 (none) to 1.
        broken, resample, shots, segments, faces, affine, sync, quality: settings of steps 1 to 8.
    """

    resolution: int = 256
    skip_steps: list[int] = field(default_factory=list)
    seed: int = 0
    validation_share: float = 0.05
    broken: BrokenConfig = field(default_factory=BrokenConfig)
    resample: ResampleConfig = field(default_factory=ResampleConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    segments: SegmentsConfig = field(default_factory=SegmentsConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    affine: AffineConfig = field(default_factory=AffineConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share <= 1:
            raise ValueError(f"validation_share {self.validation_share} is out of range: use 0 to 1")
        if not set(self.skip_steps) <= set(range(1, NUM_STEPS + 1)):
            raise ValueError(f"skip_steps {self.skip_steps}: steps are numbered from 1 to {NUM_STEPS}")
        readers = sorted(set(_READERS_OF_FACES) - set(self.skip_steps))
        if 5 in self.skip_steps and readers:
            also = " and ".join(map(str, readers))
            raise ValueError(f"skip_steps: without the faces of step 5 there is no step {also}; skip {also} too")
        for name, section, default in (("faces", self.faces, FacesConfig()), ("affine", self.affine, AffineConfig())):
            if section.resolution not in (default.resolution, self.resolution):
                raise ValueError(f"{name}.resolution is the resolution of the whole run: set resolution (--resolution)")
            object.__setattr__(self, name, replace(section, resolution=self.resolution))


def build_steps(config: PreprocessConfig) -> Sequence[Step]:
    """All steps, in their order."""
    return (
        BrokenStep(config.broken),
        ResampleStep(config.resample),
        ShotsStep(config.shots),
        SegmentsStep(config.segments),
        FacesStep(config=config.faces),
        AffineStep(config=config.affine),
        SyncStep(config.sync),
        QualityStep(config.quality),
    )
