"""The people of one job: where each one's face is, and what each one says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.face.covered import covered_frames
from latentsync.face.face_plan import FacePlan
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.fading import faded_strength
from latentsync.face.head_pose import turn_strength, yaw_degrees
from latentsync.face.tracker import Track, shown_in
from latentsync.pipelines.face_pass import followed_plan
from latentsync.pipelines.lipsync_job import LipsyncJob, OpenVoice
from latentsync.pipelines.report import COVERED, OCCLUDED, TURNED_AWAY
from latentsync.pipelines.voices import EVERYONE

BY_PLACE = "not recognized after a cut, chosen by the place in the frame"
"""Note of the frames in which a person was selected again."""


@dataclass(frozen=True)
class Person:
    """A person whose mouth is generated.

    Attributes:
        name: the selector, or a number if everyone is selected.
        plan: position of the face in every source frame.
        voice: the speech.
        notes: (n,) bool for the source frames, by what is true of the person there; they become `PersonReport.spans`.
        recognition: line for the report on how people are recognized; None for one person in one scene.
    """

    name: str
    plan: FacePlan
    voice: OpenVoice
    notes: Mapping[str, np.ndarray] = field(default_factory=dict)
    recognition: str | None = None

    def with_max_yaw(self, max_yaw: float, fps: Fraction, nose_depth: float) -> "Person":
        """Return the person with a plan that fades out where the head turns further than `max_yaw` degrees.

        Args:
            max_yaw: limit in degrees.
            fps: frames per second of the plan.
            nose_depth: of the detector's anchors, see `latentsync.face.head_pose`.
        """
        yaw = yaw_degrees(self.plan.anchors, nose_depth)
        return self._faded(turn_strength(yaw, self.plan.segments(), max_yaw, float(fps)), TURNED_AWAY)

    def with_covered(self, covered: NDArray[np.bool_], fps: Fraction) -> "Person":
        """Return the person with a plan that fades out where somebody else's head is in front of the mouth.

        Args:
            covered: (n,) from `latentsync.face.covered.covered_frames`.
            fps: frames per second of the plan.
        """
        if covered.any():
            return self._faded(faded_strength(covered, self.plan.segments(), float(fps)), COVERED)
        return self

    def _faded(self, strength: NDArray[np.float32], what: str) -> "Person":
        before = self.plan.strength
        fades = (strength < 1) & (self.plan.segment >= 0)
        strength = strength if before is None else np.minimum(before, strength)
        return replace(self, plan=replace(self.plan, strength=strength), notes={**self.notes, what: fades})

    def with_occluders(self) -> "Person":
        """Return the person with a note of frames with something in front of the mouth, set during the generation."""
        return replace(self, notes={**self.notes, OCCLUDED: np.zeros(len(self.plan), dtype=bool)})


PeopleCallback = Callable[[LipsyncJob, Sequence[Person]], None]
"""Called with the job and its people before any mouth is generated; an exception ends the job."""


def select_people(
    found: FaceTracks, voices: Sequence[OpenVoice], fps: Fraction, *, keep_people: bool = True, exact: bool = False
) -> list[Person]:
    """Return the person of each voice; with `EVERYONE` all people, and those that never appear together as one.

    A mouth is faded out where a nearer person's head covers it, except with `exact`.

    Args:
        found: faces of the source.
        voices: speech of each person.
        fps: frames per second at which the source was read.
        keep_people: recognize each person across cuts by appearance; False: select again in every scene.
        exact: round anchors to whole pixels instead of smoothing them, as in the published system.

    Raises:
        InputError: a selector selects nobody, or two select the same person.
    """
    followed: list[tuple[str, Sequence[Track], OpenVoice, Mapping[str, np.ndarray]]] = []
    for voice in voices:
        if voice.face == EVERYONE:
            followed += [(str(number), tracks, voice, {}) for number, tracks in enumerate(found.everyone(), start=1)]
        else:
            tracks, by_place = found.follow_person(voice.face) if keep_people else (found.follow(voice.face), [])
            notes = {BY_PLACE: shown_in(by_place, found.num_frames)} if by_place else {}
            followed.append((voice.face, tracks, voice, notes))
    for (name, tracks, *_), (other, others, *_) in combinations(followed, 2):
        if any(track in others for track in tracks):
            raise InputError(f"{name!r} and {other!r} are the same person: give each person one voice")
    people = []
    for name, tracks, voice, notes in followed:
        person = Person(name, followed_plan(tracks, found, fps, exact), voice, notes)
        covered = covered_frames(tracks, found.tracks, found.num_frames)
        people.append(person if exact else person.with_covered(covered, fps))
    return people
