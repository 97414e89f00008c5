"""Measure `--face speaker` and the identities of people who cross, on synthetic scenes of two people.

    python -m demo.synthetic people --out runs/people --count 15 --seed 70 --seconds 10
    python -m benchmarks.speaker_turns runs/people

A turn of 1.5 s and more is right if the right person is followed in most of its frames in which nobody else has the
word and the face is visible; "frames" is the share of all such frames. An identity switch is a tracked person with
more than a tenth of its detections on somebody else.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurement import markdown_table
from eval.bootstrap import bootstrap_mean
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_device
from latentsync.errors import InputError
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector
from latentsync.face.identity import TrackedPerson
from latentsync.judges.active_speaker import StreamingSyncNet
from latentsync.media.probe import probe_video
from latentsync.pipelines.face_pass import find_tracks, followed_plan
from latentsync.pipelines.speaker_pass import follow_speakers, load_speaker_network

FPS = 25
SIDES = ("left", "right")
_SHORTEST_TURN_S = 1.5
_MIXED_SHARE = 0.1
_SHORTEST_PERSON = 12
"""Detections from which a tracked person counts."""


@dataclass(frozen=True)
class SceneResult:
    """Measured values of one scene.

    Attributes:
        kind: kind of the scene.
        turns: True for every turn of 1.5 s and more in which the right person was followed.
        frames: True for every frame of a single visible speaker in which the right person was followed.
        is_switched: True if a tracked person is a mixture of two people.
        num_people: tracked people.
    """

    kind: str
    turns: Sequence[bool]
    frames: np.ndarray
    is_switched: bool
    num_people: int


def measure_scene(path: Path, detector: FaceDetector, network: StreamingSyncNet) -> SceneResult:
    """Measure one scene, given its ground truth (`demo.synthetic.people_set`) beside its video."""
    truth = json.loads(path.read_text(encoding="utf-8"))
    video = probe_video(path.with_name(truth["files"]["video"]))
    found = find_tracks(video, Fraction(FPS), detector)
    anchors = np.array([truth["people"][side]["anchors"] for side in SIDES])[:, : found.num_frames]
    speakers = follow_speakers(video, Fraction(FPS), found, lambda: network)
    plan = followed_plan(speakers.tracks, found, Fraction(FPS))
    followed = nearest_person(plan.anchors, anchors)
    turns, frames = followed_turns(truth, followed)
    people = [person for person in found.people() if sum(map(len, person.tracks)) >= _SHORTEST_PERSON]
    return SceneResult(truth["kind"], turns, frames, any(is_mixed(person, anchors) for person in people), len(people))


def nearest_person(anchors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return whose true anchors (people, n, 3, 2) are nearest to anchors (n, 3, 2); -1 where these are NaN."""
    distances = np.abs(truth - anchors).mean(axis=(2, 3))
    return np.where(np.isnan(distances[0]), -1, np.nan_to_num(distances, nan=np.inf).argmin(axis=0))


def followed_turns(truth: dict[str, Any], followed: np.ndarray) -> tuple[list[bool], np.ndarray]:
    """Return for every long turn, and for every frame of a single visible speaker, if the right person is followed.

    Args:
        truth: ground truth of a scene.
        followed: (n,) index of the person who is followed in every frame.
    """
    num_frames = len(followed)
    has_word = np.zeros((len(SIDES), num_frames), dtype=bool)
    spans = [
        (SIDES.index(turn["person"]), round(turn["start_s"] * FPS), round(turn["stop_s"] * FPS))
        for turn in truth["turns"]
    ]
    for person, start, stop in spans:
        has_word[person, start:stop] = True
    turns, frames = [], []
    for person, start, stop in spans:
        visible = np.array(truth["people"][SIDES[person]]["visible"])[:num_frames]
        counted = np.flatnonzero((visible & (has_word.sum(axis=0) == 1))[start:stop]) + start
        right = followed[counted] == person
        frames.append(right)
        if stop - start >= _SHORTEST_TURN_S * FPS and len(right):
            turns.append(bool(right.mean() > 0.5))
    return turns, np.concatenate(frames) if frames else np.zeros(0, dtype=bool)


def is_mixed(person: TrackedPerson, truth: np.ndarray) -> bool:
    """Return True if the detections of a tracked person are of two people."""
    owners = np.concatenate([nearest_person(track.anchors, truth[:, track.frames]) for track in person.tracks])
    share = float((owners == 0).mean())
    return min(share, 1 - share) > _MIXED_SHARE


def table(results: Sequence[SceneResult]) -> str:
    """Return one row per kind of scene and one of all, with 95 % bootstrap intervals over scenes."""
    rows = []
    kinds = [*sorted({result.kind for result in results}), "all"]
    for kind in kinds:
        chosen = [result for result in results if kind in (result.kind, "all")]
        num_turns = sum(len(result.turns) for result in chosen)
        rows.append(
            {
                "scenes": kind,
                "number": len(chosen),
                "turns right": f"{sum(sum(result.turns) for result in chosen)} of {num_turns}",
                "frames right": _interval([result.frames for result in chosen]),
                "identity switches": sum(result.is_switched for result in chosen),
                "two people found": sum(result.num_people == len(SIDES) for result in chosen),
            }
        )
    return markdown_table(list(rows[0]), rows)


def _interval(frames: Sequence[np.ndarray]) -> str:
    interval = bootstrap_mean([float(each.mean()) for each in frames if len(each)])
    if interval is None:
        return "none"
    bounds = "" if interval.low is None else f" ({interval.low:.4f} to {interval.high:.4f})"
    return f"{interval.mean:.4f}{bounds}"


def measure(options: argparse.Namespace) -> int:
    """Measure all scenes of a folder and print the table."""
    paths = sorted(options.folder.glob("scene_*.json"))
    if not paths:
        raise InputError(f"{options.folder} has no scenes: create them with python -m demo.synthetic people --out")
    device = resolve_device(options.device)
    detector, network = build_detector("mtcnn", device), load_speaker_network(device)
    results = []
    for path in paths:
        results.append(measure_scene(path, detector, network))
        turns = results[-1].turns
        print(f"{path.stem}: {results[-1].kind}, turns {sum(turns)} of {len(turns)}", flush=True)
    print(table(results))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = OneLineParser(prog="python -m benchmarks.speaker_turns", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of python -m demo.synthetic people --out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    return run_command(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
