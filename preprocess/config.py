"""Root configuration of the data pipeline, and the steps built from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from preprocess.step import NUM_STEPS, Step
from preprocess.steps.step_1_broken import BrokenConfig, BrokenStep
from preprocess.steps.step_2_resample import ResampleConfig, ResampleStep
from preprocess.steps.step_3_shots import ShotsConfig, ShotsStep
from preprocess.steps.step_4_segments import SegmentsConfig, SegmentsStep
from preprocess.steps.step_5_faces import FacesConfig, FacesStep
from preprocess.steps.step_6_affine import AffineConfig, AffineStep
from preprocess.steps.step_7_sync import SyncConfig, SyncStep
from preprocess.steps.step_8_quality import QualityConfig, QualityStep

_STEPS_THAT_NEED_FACES = (6, 7)


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of the data pipeline.

    Attributes:
        resolution: side of the finished clips and minimum size of a face in pixels; passed to steps 5 and 6.
        skip_steps: numbers of the steps that pass every clip unchanged.
        seed: seed of the train/validation split.
        validation_share: share of the source videos held out for validation, 0 (none) to 1.
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
        dependent = sorted(set(_STEPS_THAT_NEED_FACES) - set(self.skip_steps))
        if 5 in self.skip_steps and dependent:
            names = " and ".join(map(str, dependent))
            raise ValueError(f"skip_steps: step {names} cannot run without step 5; skip {names} too")
        for name, section, default in (("faces", self.faces, FacesConfig()), ("affine", self.affine, AffineConfig())):
            if section.resolution not in (default.resolution, self.resolution):
                raise ValueError(f"{name}.resolution must equal resolution: set resolution (--resolution) instead")
            object.__setattr__(self, name, replace(section, resolution=self.resolution))


def build_steps(config: PreprocessConfig) -> Sequence[Step]:
    """Return all steps in order."""
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
