"""A scene of two people who talk to each other, with exact ground truth: frames, voices, turns and mouths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.synthetic.clip import FPS
from demo.synthetic.conversation import Kind, has_turn, overlaps, random_turns, random_voice
from demo.synthetic.drawing import Bytes, Floats
from demo.synthetic.head_rotation import rotated
from demo.synthetic.head_turn import HeadTurn
from demo.synthetic.occluder import Occluder
from demo.synthetic.occluder_drawing import OccluderKind
from demo.synthetic.person import Person
from demo.synthetic.relief import head_outline
from demo.synthetic.renderer import Backdrop, Renderer, State, anchors
from demo.synthetic.scene import BACKGROUNDS, Scene
from demo.synthetic.speech import SAMPLE_RATE, Speech
from demo.synthetic.staging import random_staging
from latentsync.audio.mouth_track import mouth_track, sample_track
from latentsync.face.head_pose import yaw_degrees

FRAME_SIZE = (768, 432)
KINDS: tuple[Kind, ...] = get_args(Kind)
SIDES = ("left", "right")
"""Names of persons 0 and 1: their sides in the first frame."""

_SUPERSAMPLING = 2.0
_HAIRLINE_Y = -1.0
"""Upper end of a face's box in face units."""
_REACH = 4.4
"""Distance in face units within which the body of one person can hide the head of the other."""
_HIDDEN_SCALE = 0.25
"""Resolution at which hidden shares are measured, as a share of the frame's."""
_MIN_VISIBLE_SHARE = 0.5


@dataclass(frozen=True)
class PersonTruth:
    """Ground truth of one person in f frames.

    Attributes:
        anchors: (f, 3, 2) alignment anchors in pixels: left brow, right brow, nose.
        boxes: (f, 4) x0, y0, x1, y1 in pixels, from the hairline to the chin of the closed mouth.
        opening, width: (f,) of the mouth, in [0, 1]; a width of 0.5 is neutral.
        speaking: (f,) True in the person's own turns, whatever the mouth says.
        visible_share: (f,) share of the head that the other person does not hide.
        yaw: (f,) in degrees, positive to the right, as `head_pose.yaw_degrees` reads it from the anchors. It is that of
            a `HeadTurn`, and a few degrees of the smaller motion that all people have.
    """

    anchors: Floats
    boxes: Floats
    opening: Floats
    width: Floats
    speaking: NDArray[np.bool_]
    visible_share: Floats
    yaw: Floats

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(f,): True where at least half of the head is visible."""
        return self.visible_share >= _MIN_VISIBLE_SHARE

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; one row per frame."""
        numbers = {
            "anchors": self.anchors, "boxes": self.boxes, "opening": self.opening, "width": self.width,
            "visible_share": self.visible_share, "yaw": self.yaw,
        }  # fmt: skip
        rounded = {name: np.round(values.astype(np.float64), 3).tolist() for name, values in numbers.items()}
        return rounded | {"speaking": self.speaking.tolist(), "visible": self.visible.tolist()}


class PeopleScene:
    """Scene that is a function of (seed, index, kind, duration) and, if given, of other speech.

    Args:
        seed, index: determine people, scene, motion, turns and voices.
        kind: what happens.
        duration_s: length of the scene.
        speech: samples (s,) in [-1, 1] at 16 kHz by person, in place of the person's own voice, cut or filled up with
            silence to the length of the scene. Only the mouth of that person changes; it no longer smiles.
        frame_size: (w, h) in pixels.
        turn_degrees: yaw to which one person turns the head for a second or two, up to `MAX_YAW_DEGREES`; None: nobody.

    Attributes:
        people: two different people; person 0 is on the left in the first frame.
        scene: light and background.
        turns: who has the word, by start time.
        voices: samples (s,) at 16 kHz of each person.
        staging: motion of the people.
        head_turn: who turns the head when, or None.
        states: of each person in each frame.
    """

    def __init__(
        self, seed: int, index: int, kind: Kind, duration_s: float, speech: Mapping[int, Floats] | None = None,
        frame_size: tuple[int, int] = FRAME_SIZE, turn_degrees: float | None = None,
    ) -> None:  # fmt: skip
        self.seed, self.index, self.kind, self.duration_s, self.frame_size = seed, index, kind, duration_s, frame_size
        appearance, move, talk = (self._rng(part) for part in range(3))
        self.people = _two_people(appearance)
        self.scene = Scene.random(appearance)
        self.turns = random_turns(talk, kind, duration_s)
        self.num_frames = round(duration_s * FPS)
        self._times = np.arange(self.num_frames, dtype=np.float32) / FPS
        listens = np.stack([~has_turn(self.turns, person, self._times) for person in range(2)])
        self.staging = random_staging(move, kind, frame_size, listens)
        self.head_turn = None if turn_degrees is None else HeadTurn.random(self._rng(5), turn_degrees, duration_s)
        self._other_speech = dict(speech or {})
        self._own: list[Speech | None] = [None if k in self._other_speech else self._own_voice(k) for k in range(2)]
        self.voices = [self._samples(person) for person in range(2)]
        self.states = [self._speaking_states(person) for person in range(2)]

    @property
    def samples(self) -> Floats:
        """The scene's sound (s,) at 16 kHz: the sum of the voices, clipped to [-1, 1]."""
        return np.clip(self.voices[0] + self.voices[1], -1.0, 1.0)

    @property
    def cuts(self) -> list[int]:
        """First frames of all shots but the first."""
        return [int(frame) for frame in np.flatnonzero(np.diff(self.staging.shots)) + 1]

    def frames(self, indices: Iterable[int] | None = None, supersample: float = _SUPERSAMPLING) -> Iterator[Bytes]:
        """Render all frames or those of some indices, RGB uint8 (h, w, 3)."""
        renderers = self._renderers(supersample)
        backdrops = [Backdrop(scene) for scene in self._shot_scenes()]
        camera, size = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32), self.frame_size
        order = (1 - self.staging.front, self.staging.front)
        for frame in range(self.num_frames) if indices is None else indices:
            people = [(renderers[k], self.states[k][frame]) for k in order]
            yield backdrops[self.staging.shots[frame]].render(people, camera, size, size, supersample)

    def occluder(self, kind: OccluderKind) -> Occluder:
        """Return a thing in front of the mouth of a random person, in a crossing that of the one in front."""
        rng = self._rng(4)
        person = self.staging.front if self.kind == "crossing" else int(rng.integers(2))
        return Occluder(kind, rng, self.people[person], self.scene, self.states[person], self.frame_size, SIDES[person])

    @cached_property
    def truth(self) -> list[PersonTruth]:
        """Ground truth of each person."""
        return [self._truth(person) for person in range(2)]

    def description(self) -> dict[str, Any]:
        """Return the scene and its ground truth as plain values."""
        crossing = self.staging.crossing
        return {
            "seed": self.seed, "index": self.index, "kind": self.kind, "fps": FPS, "num_frames": self.num_frames,
            "frame_size": list(self.frame_size),
            "turns": [
                {"person": SIDES[turn.person], "start_s": round(turn.start_s, 3), "stop_s": round(turn.stop_s, 3)}
                for turn in self.turns
            ],
            "overlaps_s": np.round(overlaps(self.turns), 3).tolist(),
            "cuts_s": [frame / FPS for frame in self.cuts],
            "head_turn": self._turn_description(),
            "crossings_s": [[frame / FPS for frame in crossing]] if crossing else [],
            "scene": self.scene.as_dict(),
            "people": {SIDES[person]: self._person_description(person) for person in range(2)},
        }  # fmt: skip

    def _turn_description(self) -> dict[str, Any] | None:
        turn = self.head_turn
        return None if turn is None else asdict(turn) | {"person": SIDES[turn.person]}

    def _person_description(self, person: int) -> dict[str, Any]:
        own = self._own[person]
        voice = {"text": own.text, "voice": vars(own.voice)} if own else {"text": None, "voice": None}
        return {"person": self.people[person].as_dict(), **voice, **self.truth[person].as_dict()}

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, 100 + part])

    def _own_voice(self, person: int) -> Speech:
        rng, feminine = self._rng(10 + person), self.people[person].feminine
        return random_voice(rng, self.turns, person, self.duration_s, feminine)

    def _samples(self, person: int) -> Floats:
        own = self._own[person]
        if own is not None:
            return own.samples
        result = np.zeros(round(self.duration_s * SAMPLE_RATE), dtype=np.float32)
        given = self._other_speech[person][: len(result)]
        result[: len(given)] = given
        return result

    def _speaking_states(self, person: int) -> list[State]:
        track = sample_track(mouth_track(self.voices[person]), self._times)
        if person not in self._other_speech:
            track[:, 1] = np.clip(track[:, 1] + self.staging.smiles[person], 0.0, 1.0)
        turn, yaw = self.head_turn, np.zeros(self.num_frames)
        if turn is not None and turn.person == person:
            yaw = turn.yaw_at(self._times)
        return [
            replace(state, opening=float(opening), width=float(width), yaw_degrees=float(degrees))
            for state, (opening, width), degrees in zip(self.staging.states[person], track, yaw, strict=True)
        ]

    def _shot_scenes(self) -> list[Scene]:
        """Return the scene of each shot: another background after a cut, in the same light."""
        rng = self._rng(3)
        names = [name for name in BACKGROUNDS if name != self.scene.background]
        other = replace(self.scene, background=names[rng.integers(len(names))], seed=int(rng.integers(2**31)))
        return [self.scene, other][: 1 + int(self.staging.shots[-1])]

    def _renderers(self, supersample: float) -> list[Renderer]:
        return [
            Renderer(person, self.scene, supersample * max(_eye_distance(state) for state in states))
            for person, states in zip(self.people, self.states, strict=True)
        ]

    def _truth(self, person: int) -> PersonTruth:
        looks, states = self.people[person], self.states[person]
        points = np.stack([anchors(looks, state) for state in states])
        return PersonTruth(
            anchors=points,
            boxes=np.stack([_face_box(looks, state) for state in states]),
            opening=np.array([state.opening for state in states], dtype=np.float32),
            width=np.array([state.width for state in states], dtype=np.float32),
            speaking=has_turn(self.turns, person, self._times),
            visible_share=self._visible_shares[person],
            yaw=yaw_degrees(points),
        )

    @cached_property
    def _visible_shares(self) -> Floats:
        """Return (2, f): the share of each head that the other person does not hide."""
        result = np.ones((2, self.num_frames), dtype=np.float32)
        front, back = self.staging.front, 1 - self.staging.front
        near = [k for k in range(self.num_frames) if self._is_near(k)]
        if near:
            renderer = self._renderers(_HIDDEN_SCALE)[front]
            for k in near:
                cover = _coverage(renderer, self.states[front][k], self.frame_size)
                head = _head_mask(self.people[back], self.states[back][k], self.frame_size)
                result[back, k] = 1.0 - float(cover[head > 0].mean()) / 255.0
        return result

    def _is_near(self, frame: int) -> bool:
        first, second = (states[frame] for states in self.states)
        reach = _REACH * max(_eye_distance(first), _eye_distance(second))
        return abs(float(first.head[0, 2] - second.head[0, 2])) < reach


def _two_people(rng: np.random.Generator) -> tuple[Person, Person]:
    """Return two random people who differ in at least two of skin, hair and clothes."""
    first, second = Person.random(rng), Person.random(rng)
    while _num_differences(first, second) < 2:
        second = Person.random(rng)
    return first, second


def _num_differences(first: Person, second: Person) -> int:
    pairs = ((first.skin, second.skin, 0.3), (first.hair, second.hair, 0.35), (first.cloth, second.cloth, 0.5))
    return sum(float(np.linalg.norm(np.subtract(one, other))) > far for one, other, far in pairs)


def _eye_distance(state: State) -> float:
    return float(np.linalg.norm(state.head[:, 0]))


def _face_box(person: Person, state: State) -> Floats:
    """Return x0, y0, x1, y1 of the face below the hairline, in pixels."""
    outline = head_outline(person)
    outline = rotated(np.maximum(outline, [-np.inf, _HAIRLINE_Y]), state.yaw_degrees)
    points = outline @ state.head[:, :2].T + state.head[:, 2]
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def _coverage(renderer: Renderer, state: State, frame_size: tuple[int, int]) -> Bytes:
    """Return the coverage (h, w) of a person, 0 to 255, at a reduced resolution."""
    width, height = (round(side * _HIDDEN_SCALE) for side in frame_size)
    camera = np.array([[_HIDDEN_SCALE, 0.0, 0.0], [0.0, _HIDDEN_SCALE, 0.0]], dtype=np.float32)
    black, white = (np.full((height, width, 3), value, dtype=np.uint8) for value in (0, 255))
    renderer.draw(black, state, camera)
    renderer.draw(white, state, camera)
    return np.asarray(255 - (white[..., 0] - np.minimum(black, white)[..., 0]), dtype=np.uint8)


def _head_mask(person: Person, state: State, frame_size: tuple[int, int]) -> Bytes:
    """Return the head's area (h, w) at the resolution of `_coverage`."""
    width, height = (round(side * _HIDDEN_SCALE) for side in frame_size)
    points = (rotated(head_outline(person), state.yaw_degrees) @ state.head[:, :2].T + state.head[:, 2]) * _HIDDEN_SCALE
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
    return mask
