"""Measure the dubbing of scenes with two people against their ground truth: one voice per person.

    python -m benchmarks.people --out runs/people [--scenes 40] [--seconds 6]

The scenes (`demo.synthetic.people_scene`) have a seed that nothing was tuned on. Each is dubbed twice: the person on
the left alone, and both with a voice each. Results are stored in the folder; the same command continues.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.measurement import markdown_table
from demo.synthetic.clip import FPS
from demo.synthetic.people_scene import KINDS, SIDES, PeopleScene
from demo.synthetic.people_set import PeopleConfig, make_people_scenes
from demo.synthetic.speech import random_speech, write_wav
from eval.bootstrap import bootstrap_mean
from eval.stored_results import ResultLog, Values
from latentsync.audio.mouth_track import mouth_track, sample_track
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_device, resolve_dtype
from latentsync.face.align import crop_faces
from latentsync.judges.crop_measures import correlation, leak, to_crops
from latentsync.judges.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.people import Person
from latentsync.pipelines.voices import Voice, Voices
from latentsync.pipelines.window_stages import JobFrame
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, choose_weights
from latentsync.storage.content_cache import cache_key
from latentsync.storage.owned_folder import claim_folder
from latentsync.weights import CHECKPOINTS

SEED = 2077
RESULTS = "results.jsonl"
MAX_ANCHOR_DISTANCE = 0.5
"""Distance of followed from true anchors up to which they are those of a person, as a share of the eye distance."""


@dataclass
class Observed:
    """What one dub did, collected frame by frame.

    Attributes:
        crops: aligned crops (R, R, 3) of the result by person, with the frame's index.
        num_changed: changed pixels in the face of each true person, (f, 2); NaN where the two faces are near.
    """

    crops: dict[str, list[tuple[int, np.ndarray]]] = field(default_factory=dict)
    num_changed: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Dub:
    """A finished dub: its people, what was observed, and its time in seconds."""

    people: list[Person]
    observed: Observed
    seconds: float


class SceneDubber:
    """Dubs scenes with the bundled weights and reads the results."""

    def __init__(self) -> None:
        weights, device = choose_weights(), resolve_device("auto")
        self._build = LipsyncBuild(
            weights.unet_config, weights.unet_checkpoint, device, resolve_dtype("auto", device), detector="mtcnn"
        )
        self.pipeline: LipsyncPipeline = build_pipeline(self._build)
        self.reader: MouthReader = load_mouth_reader(CHECKPOINTS / "demo" / "mouth_reader.pt", device)
        self.options: LipsyncOptions = self._build.default_options(preset=self._build.default_preset)

    def dub(self, scene: PeopleScene, video: Path, voices: Voices, out: Path) -> Dub:
        """Dub a scene as the command does, and look at every frame before it is encoded."""
        pipeline, observed, started = self.pipeline, Observed(), time.monotonic()
        with pipeline.open_job(video, voices, out, self.options) as job:
            people = pipeline.find_people(job)
            frames = pipeline.read(job, len(people[0].plan))
            for person in people:
                frames = pipeline.stages(job, person)(frames)
            pipeline.write(job, self._observe(frames, scene, people, observed))
        return Dub(people, observed, time.monotonic() - started)

    def _observe(
        self, frames: Iterator[JobFrame], scene: PeopleScene, people: list[Person], observed: Observed
    ) -> Iterator[JobFrame]:
        for number, frame in enumerate(frames):
            observed.num_changed.append(changed_pixels(frame, scene, number))
            shown = [person for person in people if is_generated(person, number)]
            for person, matrix in zip(shown, frame.matrices, strict=True):
                crop = to_crops(crop_faces([frame.result], matrix[None], self.pipeline.resolution))[0]
                observed.crops.setdefault(person.name, []).append((number, crop))
            yield frame


def is_generated(person: Person, frame: int) -> bool:
    """Return True if the person's mouth is generated in a frame, with whatever weight."""
    plan = person.plan
    return bool(plan.segment[frame] >= 0 and (plan.strength is None or plan.strength[frame] > 0))


def changed_pixels(frame: JobFrame, scene: PeopleScene, number: int) -> np.ndarray:
    """Return the number of changed pixels (2,) in each person's face; NaN if the two boxes are near each other."""
    boxes = np.stack([truth.boxes[number] for truth in scene.truth])
    gap = max(boxes[0, 0] - boxes[1, 2], boxes[1, 0] - boxes[0, 2])
    if gap < 0.5 * (boxes[:, 2] - boxes[:, 0]).max():  # the generated area is wider than the face
        return np.full(2, np.nan)
    changed = (frame.source != frame.result).any(axis=-1)
    inside = np.clip(boxes.round().astype(int), 0, None)
    return np.array([changed[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in inside], dtype=float)


def who_is_followed(person: Person, scene: PeopleScene) -> np.ndarray:
    """Return (f,) the true person whose anchors are followed in each frame; -1 if nobody's are near."""
    anchors = person.plan.anchors[: scene.num_frames]
    distances = []
    for truth in scene.truth:
        eyes = np.linalg.norm(truth.anchors[:, 1] - truth.anchors[:, 0], axis=1)
        distances.append(np.linalg.norm(anchors - truth.anchors, axis=2).mean(axis=1) / eyes)
    nearest = np.argmin(np.nan_to_num(distances, nan=np.inf), axis=0)
    near = np.min(np.nan_to_num(distances, nan=np.inf), axis=0) <= MAX_ANCHOR_DISTANCE
    return np.where(near, nearest, -1)


def main_person(followed: np.ndarray) -> int:
    """Return the true person who is followed in most frames."""
    return int(np.bincount(followed + 1, minlength=3)[1:].argmax())


def num_switches(followed: np.ndarray, scene: PeopleScene) -> int:
    """Return how often another person is followed than before, while the one followed in most frames is visible."""
    shown = followed[(followed >= 0) & scene.truth[main_person(followed)].visible]
    return int((np.diff(shown) != 0).sum())


def measure_scene(index: int, video: Path, config: PeopleConfig, dubber: SceneDubber, folder: Path) -> Values:
    """Dub one scene with one voice and with two, and return its values."""
    scene = PeopleScene(config.seed, index, config.kind_of(index), config.seconds)
    rng, voices, tracks = np.random.default_rng([SEED, index]), [], []
    for side in SIDES:
        samples = random_speech(rng, config.seconds, side == SIDES[0]).samples
        path = folder / f"{side}.wav"
        write_wav(path, samples)
        voices.append(Voice(side, path))
        tracks.append(sample_track(mouth_track(samples), np.arange(scene.num_frames, dtype=np.float32) / FPS)[:, 0])
    alone = dubber.dub(scene, video, Voices((voices[0],)), folder / "alone.mp4")
    both = dubber.dub(scene, video, Voices(tuple(voices)), folder / "both.mp4")
    followed = [who_is_followed(person, scene) for person in both.people]
    own, other = [], []
    for voice, (mine, theirs) in enumerate(((0, 1), (1, 0))):
        frames = both.observed.crops[SIDES[voice]]
        visible = scene.truth[main_person(followed[voice])].visible
        numbers = np.array([number for number, _ in frames if visible[number]])
        crops = np.stack([crop for number, crop in frames if visible[number]])
        opening = read_mouth(dubber.reader, crops)[:, 0]
        own.append(correlation(opening, tracks[mine][numbers]))
        other.append(leak(opening, tracks[mine][numbers], tracks[theirs][numbers]))
    listener = 1 - main_person(who_is_followed(alone.people[0], scene))
    changed = [row[listener] for row in alone.observed.num_changed]
    return {
        "opening, own voice": float(np.mean(own)),
        "opening, own voice, lowest": min(own),
        "opening, leak of the other voice": float(np.mean(other)),
        "changed pixels of the person without a voice": float(np.nansum(changed)),
        "frames of the right person": float(np.mean([right_frames(line, scene) for line in followed])),
        "switches of identity": float(sum(num_switches(line, scene) for line in followed)),
        "time, two voices over one": both.seconds / alone.seconds,
    }


def right_frames(followed: np.ndarray, scene: PeopleScene) -> float:
    """Return the share of the frames in which a person is followed, of those in which the person is visible."""
    person = main_person(followed)
    visible = scene.truth[person].visible
    return float((followed[visible] == person).mean())


def table(results: Mapping[str, list[Values]]) -> str:
    """Return means with 95 % bootstrap intervals over scenes, for each kind of scene and for all."""
    everything = [values for group in results.values() for values in group]
    rows = []
    for name in everything[0]:
        row: dict[str, object] = {"": name}
        for kind, group in {**results, "all": everything}.items():
            mean = bootstrap_mean([values[name] for values in group])
            assert mean is not None
            spread = "" if mean.low is None else f" [{mean.low:.3g}, {mean.high:.3g}]"
            row[f"{kind} ({mean.num})"] = f"{mean.mean:.3f}{spread}"
        rows.append(row)
    return markdown_table(list(rows[0]), rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.people", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--kind", choices=KINDS, help="(default: all in turn)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    return run_command(lambda: run_all(options), when_stopped="the same command continues")


def run_all(options: argparse.Namespace) -> int:
    """Measure the missing scenes and print the table."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    claim_folder(options.out, "people measurement", "name another --out")
    config = PeopleConfig(options.out / "scenes", options.scenes, SEED, options.kind, options.seconds)
    videos = [path.with_suffix(".mp4") for path in make_people_scenes(config)]
    stored, dubber = ResultLog(options.out / RESULTS), SceneDubber()
    results: dict[str, list[Values]] = {}
    for index, video in enumerate(videos):
        folder = options.out / f"dub_{index:03d}"
        folder.mkdir(exist_ok=True)
        settings = config.settings_of(index)
        key = cache_key("people", 2, str(settings))
        values = stored.get(key, str(settings), partial(measure_scene, index, video, config, dubber, folder))
        results.setdefault(config.kind_of(index), []).append(values)
        print(f"{index + 1} of {len(videos)}: {settings['kind']}", flush=True)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
