"""Generate the videos of a list, each with the preset, the adapted weights and the occluder that its line names."""

import argparse
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from latentsync.pipelines.lipsync_job import CheckedJob, Progress, check_job
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.video_maker import Outcome, Pipeline, VideoJob, VideoMaker
from latentsync.pipelines.voices import Voices
from latentsync.recipes.lipsync import ChosenWeights, LipsyncBuild, result_settings
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from latentsync.recipes.video_list import adapted_of, job_outputs, occluder_of, preset_of

ChoiceKey = tuple[str | None, Path | None, str | None]
"""Preset, adapted weights and occluder that a line of a list names."""

OpenProgress = Callable[[], AbstractContextManager[Progress | None]]
"""Function that opens the progress bars of one job."""


class ListMaker:
    """Generates the videos of a list. Networks are loaded when a job needs them.

    Args:
        arguments: the command line (`lipsync_arguments`); its choice is that of lines that name nothing.
        use_default_preset: see `ChosenPipeline.of`; it is that of lines that name nothing.
        on_load: called with the choice whose networks have been loaded.
        open_progress: opens the progress bars of a job; default: none.

    Raises:
        LatentSyncError: weights are missing, or an argument is out of range.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        use_default_preset: bool = True,
        on_load: Callable[[ChosenPipeline], None] | None = None,
        open_progress: OpenProgress = nullcontext,
    ) -> None:
        self.default = ChosenPipeline.of(arguments, use_default_preset=use_default_preset)
        self.arguments = arguments
        self.use_default_preset = use_default_preset
        self.temp_dir: Path | None = getattr(arguments, "temp_dir", None)
        self._networks = LoadedNetworks(on_load)
        self._open_progress = open_progress
        self._choices: dict[ChoiceKey, ChosenPipeline] = {(None, None, None): self.default}
        self._makers: dict[ChoiceKey, VideoMaker] = {}

    def prepare(self, jobs: Iterable[VideoJob]) -> None:
        """Check what the lines of all jobs choose, before the first one is started.

        Raises:
            LatentSyncError: weights that a line names are missing or contradict the arguments.
        """
        for job in jobs:
            self._maker_of(job)

    def choice_of(self, job: VideoJob) -> ChosenPipeline:
        """Return the choice of a job.

        Raises:
            LatentSyncError: weights that its line names are missing or contradict the arguments.
        """
        key = _choice_key(job)
        if key not in self._choices:
            self._choices[key] = _chosen_by(key, self.arguments)
        return self._choices[key]

    def check(self, job: VideoJob) -> CheckedJob:
        """Check that a job can start, without loading networks.

        Raises:
            LatentSyncError: an input or an output cannot be used.
        """
        outputs, choice = job_outputs(job, self.default.options), self.choice_of(job)
        voices = Voices.of(job.audio, self.default.options.face)
        return check_job(job.video, voices, outputs, choice.options, self.temp_dir, choice.files())

    def make(self, job: VideoJob) -> Outcome:
        """Generate a video unless it exists; a failure is recorded and returned.

        Raises:
            LatentSyncError: the networks cannot be loaded.
        """
        return self._maker_of(job).make(job)

    def record_failure(self, job: VideoJob, reason: str) -> Outcome:
        """Record that a job failed outside of this process, such as in a worker that died; return its outcome."""
        return self._maker_of(job).record_failure(job, reason)

    def load(self, choice: ChosenPipeline) -> LipsyncPipeline:
        """Return the pipeline of a choice; see `LoadedNetworks`."""
        return self._networks.of(choice)

    def _maker_of(self, job: VideoJob) -> VideoMaker:
        key = _choice_key(job)
        if key not in self._makers:
            choice = self.choice_of(job)
            settings = result_settings(choice.build, choice.options)
            self._makers[key] = VideoMaker(settings, partial(self._generator, choice), self.check)
        return self._makers[key]

    def _generator(self, choice: ChosenPipeline) -> Pipeline:
        return partial(self._generate, self.load(choice), choice)

    def _generate(
        self, pipeline: LipsyncPipeline, choice: ChosenPipeline, video: Path, audio: Path | Voices, out: Path
    ) -> LipsyncReport:
        with self._open_progress() as progress:
            return pipeline(video, audio, out, choice.options, temp_dir=self.temp_dir, progress=progress)


class LoadedNetworks:
    """Pipelines of one set of weights; another set replaces them, since a list may name many.

    Args:
        on_load: called with the choice whose networks have been loaded.
    """

    def __init__(self, on_load: Callable[[ChosenPipeline], None] | None = None) -> None:
        self._on_load = on_load
        self._weights: ChosenWeights | None = None
        self._pipelines: dict[LipsyncBuild, LipsyncPipeline] = {}

    def of(self, choice: ChosenPipeline) -> LipsyncPipeline:
        """Return the pipeline of a choice, and load it first if necessary."""
        if choice.weights != self._weights:
            self._weights = choice.weights
            self._pipelines.clear()
        if choice.build not in self._pipelines:
            self._pipelines[choice.build] = choice.load()
            if self._on_load is not None:
                self._on_load(choice)
        return self._pipelines[choice.build]


def _choice_key(job: VideoJob) -> ChoiceKey:
    return preset_of(job), adapted_of(job), occluder_of(job)


def _chosen_by(key: ChoiceKey, arguments: argparse.Namespace) -> ChosenPipeline:
    """Return the choice of a line of a list, which wins over that of the command line."""
    preset, adapted, occluder = key
    given = vars(arguments) | ({} if occluder is None else {"occluder": occluder})
    if adapted is not None:
        given |= {"adapted": adapted, "unet_config_path": None, "inference_ckpt_path": None}
    return ChosenPipeline.of(argparse.Namespace(**given), preset)
