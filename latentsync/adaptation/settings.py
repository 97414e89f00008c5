"""Settings of an adaptation, their checks, and the notes in its folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from latentsync.adaptation.audio_modes import AUDIO_MODES
from latentsync.adaptation.needed_weights import check_weights
from latentsync.data.clip_list import list_clips
from latentsync.errors import ConfigError, InputError
from latentsync.media.probe import probe_audio, probe_video
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.adapted_weights import PROGRAM, VERSION
from latentsync.storage.content_cache import cache_key, content_key
from latentsync.storage.output_file import atomic_output
from latentsync.storage.owned_folder import check_ownership
from latentsync.weights import locate_initial

REMEDY = "choose another --out"
PLAN = "plan.json"
"""Settings of a begun training."""
MAX_STEPS = 10**6


@dataclass(frozen=True)
class AdaptationSettings:
    """What to adapt, to whom, and for how long.

    Attributes:
        run: configuration; clips, folders, device and steps are set here.
        videos: footage of the person.
        out: folder of the result.
        face: face to follow, see `latentsync.face.tracker.select_track`.
        minutes: time of the training.
        num_steps: steps of the training instead of a time, which gives reproducible weights; None: the time counts.
        audio: one of `audio_modes.AUDIO_MODES`.
        speech: further recordings of the speech bank.
        mixed_clips: training clips of other people; None: none.
        device: of the networks.
        detector: face detector, see `latentsync.face.detector`.
    """

    run: AdaptationRun
    videos: tuple[Path, ...]
    out: Path
    device: torch.device
    face: str = "only"
    minutes: float = 10.0
    audio: str = "auto"
    speech: tuple[Path, ...] = ()
    mixed_clips: Path | None = None
    detector: str = "auto"
    num_steps: int | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that affects the result, inputs by their content."""
        base = locate_initial(str(self.run.initial))
        files = [content_key(path) for path in (*self.videos, *self.speech, base)]
        values = (self.face, self.length, self.audio, str(self.mixed_clips), self.detector, self.device.type)
        return cache_key(VERSION, json.dumps(asdict(self.run), sort_keys=True), *files, *map(str, values))

    @property
    def length(self) -> str:
        """Planned length of the training, such as "10 minutes"."""
        if self.num_steps is None:
            return f"{self.minutes:g} minutes"
        return "1 step" if self.num_steps == 1 else f"{self.num_steps} steps"

    def clips_key(self, video: Path) -> str:
        """Return the name of the folder of a video's clips, which depend on the video and on how they are cut."""
        data = self.run.data
        return cache_key(content_key(video), self.face, self.detector, data.resolution, data.min_frames)[:16]


def check_settings(settings: AdaptationSettings) -> None:
    """Check all inputs and the output without writing anything.

    Raises:
        LatentSyncError: a video, a recording or the folder cannot be used, or weights are missing.
    """
    if not 0 < settings.minutes <= 24 * 60:
        raise InputError(f"--minutes {settings.minutes:g}: use more than 0 and at most 1440")
    if settings.num_steps is not None and not 0 < settings.num_steps <= MAX_STEPS:
        raise InputError(f"--steps {settings.num_steps}: use at least 1 and at most {MAX_STEPS}")
    if settings.audio not in AUDIO_MODES:
        raise InputError(f"--audio {settings.audio}: use {', '.join(AUDIO_MODES)}")
    _check_inputs(settings)
    check_weights(settings.run)
    check_ownership(settings.out, PROGRAM, REMEDY)
    plan = read_note(settings.out / PLAN)
    if plan is not None and plan.get("settings") != settings.key:
        raise InputError(f"{settings.out} has an adaptation with other settings: repeat its line, or {REMEDY}")


def _check_inputs(settings: AdaptationSettings) -> None:
    for video in settings.videos:
        info = probe_video(video)
        if settings.audio in ("both", "own") and not info.has_audio:
            raise InputError(f"{video} has no sound: use --audio pseudo, or give a video with its sound")
    for recording in settings.speech:
        probe_audio(recording)
    if settings.mixed_clips is not None:
        list_clips(settings.mixed_clips)
    needed = settings.run.adaptation
    if not needed.check_speech:
        raise ConfigError("adaptation.check_speech is empty: name recordings of speech, which the checks require")
    if settings.audio != "own" and not (settings.speech or needed.speech):
        raise ConfigError("adaptation.speech is empty: name recordings with --speech, or use --audio own")


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file of the result's folder; None if it does not exist.

    Raises:
        InputError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {REMEDY}") from error


def write_note(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, atomically. Raises InputError if it cannot be written."""
    with atomic_output(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
