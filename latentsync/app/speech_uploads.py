"""Speech that a visitor uploads for one job: of one face, or of each person."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import InputError
from latentsync.pipelines.voices import Voice, Voices

MAX_VOICES = 4
"""Number of people who can have a speech of their own."""


@dataclass(frozen=True)
class SpeechUploads:
    """Uploads with the sound of one job.

    Attributes:
        speech: of the face that `LipsyncOptions.face` selects; None if people have speech of their own.
        people: speech of each person.
        sound: sound of the result; None: the speech itself, of several people mixed.
    """

    speech: Path | None = None
    people: tuple[Voice, ...] = ()
    sound: Path | None = None

    def files(self) -> dict[str, Path]:
        """Return the uploads by their names in the folder of the job.

        Raises:
            InputError: there is no speech, or both kinds of it.
        """
        if self.speech is not None and self.people:
            names = " and ".join(voice.face for voice in self.people)
            raise InputError(f"there is a speech for one face, and one of the person {names}: remove one of both")
        if self.people:
            files = {self._stem(voice): voice.speech for voice in self.people}
        else:
            files = {"speech": required(self.speech, "speech")}
        return files if self.sound is None else {**files, "sound": self.sound}

    def voices(self, face: str, files: Mapping[str, Path]) -> Voices:
        """Return the voices of the job.

        Args:
            face: selector of the face that `speech` is for.
            files: result of `files`, or the same files at other places.

        Raises:
            InputError: a selector is invalid or occurs twice.
        """
        sound = files.get("sound")
        if not self.people:
            return Voices.of_selected(face, files["speech"], sound)
        return Voices(tuple(Voice(voice.face, files[self._stem(voice)]) for voice in self.people), sound)

    def _stem(self, voice: Voice) -> str:
        """Return the name of a person's speech; people with the same file share it, so that it is mixed once."""
        return f"voice_{[other.speech for other in self.people].index(voice.speech) + 1}"


def required(path: Path | None, what: str) -> Path:
    """Return the path of an upload; raise InputError if there is none."""
    if path is None:
        raise InputError(f"there is no {what} yet: upload one, or use the example")
    return path
