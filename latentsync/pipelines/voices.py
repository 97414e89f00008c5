"""Which speech drives which person of a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import ConfigError, InputError
from latentsync.face.tracker import parse_selector

EVERYONE = "all"
"""Selector of every person but bystanders."""

SPEAKER = "speaker"
"""Selector of the person who speaks in the source, by its own sound."""

MANY_TRACKS = (EVERYONE, SPEAKER)
"""Selectors that no single track of a scene answers."""


@dataclass(frozen=True)
class Voice:
    """Speech of a person, or with `EVERYONE` of all.

    Attributes:
        face: selector of the person, see `latentsync.face.tracker.select_track`, or one of `MANY_TRACKS`.
        speech: driving audio, or a video with an audio stream.
    """

    face: str
    speech: Path


@dataclass(frozen=True)
class Voices:
    """All speech of one job.

    Attributes:
        voices: one for each person to generate.
        sound: sound of the result; None: the speech itself, of several people mixed.
        keep_people: recognize each person across cuts by appearance; False: select again in every scene.

    Raises:
        InputError: there is no voice, a selector is invalid or occurs twice.
    """

    voices: tuple[Voice, ...]
    sound: Path | None = None
    keep_people: bool = True

    def __post_init__(self) -> None:
        if not self.voices:
            raise InputError("no speech is given: name it with --audio_path or --face_audio")
        faces = [voice.face for voice in self.voices]
        for face in faces:
            if face not in MANY_TRACKS:
                parse_selector(face)
            if faces.count(face) > 1:
                raise InputError(f"face {face!r} has {faces.count(face)} voices: give each person one")
        if EVERYONE in faces and len(faces) > 1:
            raise InputError(f"{EVERYONE!r} has the voice of everyone: leave the other voices out")
        if SPEAKER in faces and len(faces) > 1:
            raise InputError(f"{SPEAKER!r} may be anyone: leave the other voices out, or name each person by place")

    @classmethod
    def of(cls, speech: "Path | str | Voices", face: str) -> "Voices":
        """Return the voices of a job: `speech` itself if it names people, else the speech of the selected face."""
        return speech if isinstance(speech, Voices) else cls.of_selected(face, Path(speech))

    @classmethod
    def of_selected(cls, face: str, speech: Path, sound: Path | None = None) -> "Voices":
        """Return one voice for the face that is selected in every scene."""
        return cls((Voice(face, speech),), sound, keep_people=False)

    @classmethod
    def parse(cls, pairs: Sequence[str], folder: Path | None = None, sound: Path | None = None) -> "Voices":
        """Parse pairs such as ``left=a.wav``.

        Args:
            pairs: selector and file of each person.
            folder: folder that relative paths start from; None for the current one.
            sound: sound of the result.

        Raises:
            InputError: a pair is not of that form, or see above.
        """
        return cls(tuple(_parse(pair, folder) for pair in pairs), sound)

    def check_exact(self) -> None:
        """Check that the published system, which generates one face, could follow these faces.

        Raises:
            ConfigError: there are several, or one is that of no single track.
        """
        if len(self.voices) > 1:
            raise ConfigError(f"{len(self.voices)} voices contradict exact: give one, or omit exact")
        for voice in self.voices:
            if voice.face in MANY_TRACKS:
                raise ConfigError(f"a face is {voice.face}, which contradicts exact: choose one face, or omit exact")

    @property
    def speeches(self) -> list[Path]:
        """Driving audio of every voice."""
        return [voice.speech for voice in self.voices]

    def files(self) -> list[Path]:
        """Return all audio files that a job reads."""
        return [*self.speeches, *([] if self.sound is None else [self.sound])]


def _parse(pair: str, folder: Path | None) -> Voice:
    face, equals, speech = pair.partition("=")
    if not (face.strip() and equals and speech.strip()):
        raise InputError(f"{pair!r} is no voice of a person: write face=file, such as left=speech.wav")
    path = Path(speech.strip())
    return Voice(face.strip(), path if folder is None else folder / path)
