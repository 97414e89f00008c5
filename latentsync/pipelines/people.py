"""The people of one job: where each one's face is, and what each one says."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from latentsync.errors import InputError
from latentsync.face.face_plan import FacePlan
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.tracker import Track
from latentsync.pipelines.face_pass import followed_plan
from latentsync.pipelines.lipsync_job import OpenVoice
from latentsync.pipelines.voices import EVERYONE


@dataclass(frozen=True)
class Person:
    """A person whose mouth is generated.

    Attributes:
        name: the selector, or a number if everyone is selected.
        plan: position of the face in every source frame.
        voice: the speech.
    """

    name: str
    plan: FacePlan
    voice: OpenVoice


def select_people(found: FaceTracks, voices: Sequence[OpenVoice], fps: Fraction, exact: bool = False) -> list[Person]:
    """Return the person of each voice; with `EVERYONE` all people, of whom two that never meet count as one.

    Args:
        found: faces of the source.
        voices: speech of each person.
        fps: frames per second at which the source was read.
        exact: round anchors to whole pixels instead of smoothing them, as in the published system.

    Raises:
        InputError: a selector selects nobody, or two select the same person.
    """
    followed: list[tuple[str, Sequence[Track], OpenVoice]] = []
    for voice in voices:
        if voice.face == EVERYONE:
            followed += [(str(number), tracks, voice) for number, tracks in enumerate(found.everyone(), start=1)]
        else:
            followed.append((voice.face, found.follow(voice.face), voice))
    for (name, tracks, _), (other, others, _) in combinations(followed, 2):
        if any(track in others for track in tracks):
            raise InputError(f"{name!r} and {other!r} are the same person: give each person one voice")
    return [Person(name, followed_plan(tracks, found, fps, exact), voice) for name, tracks, voice in followed]
