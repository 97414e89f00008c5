"""What a visitor asks of a lip-sync, stored with its job so that the job survives the process."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentsync.app.speech_uploads import SpeechUploads
from latentsync.jobs.folders import stored_name
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.voices import Voice

LIPSYNC = "lipsync"
"""Kind of the jobs."""


@dataclass(frozen=True)
class AdaptedWeights:
    """Weights that a visitor adapted.

    Attributes:
        folder: of the weights.
        name: for the report.
    """

    folder: Path
    name: str


@dataclass(frozen=True)
class LipsyncRequest:
    """A request for a lip-sync; files are uploads.

    Attributes:
        video: upload.
        speech: uploads with the sound.
        options: of the pipeline; masks of occluders are an upload.
        adapted: weights; None: those of the server.
    """

    video: Path
    speech: SpeechUploads
    options: LipsyncOptions
    adapted: AdaptedWeights | None = None

    def uploads(self) -> dict[str, Path]:
        """Return the uploads by their names in the folder of the job. Raises InputError if speech is missing."""
        masks = mask_video(self.options)
        return {"video": self.video, **self.speech.files(), **({} if masks is None else {"occluder": masks})}

    def record(self) -> dict[str, Any]:
        """Return the request as JSON, with the visitor's names of the files in the folder of the job."""
        adapted, speech = self.adapted, self.speech
        return {
            "video": str(self.video),
            "speech": _text(speech.speech),
            "people": [[voice.face, str(voice.speech)] for voice in speech.people],
            "sound": _text(speech.sound),
            "options": asdict(self.options),
            "adapted": None if adapted is None else {"folder": str(adapted.folder), "name": adapted.name},
            "names": {stored_name(stem, path.name): path.name for stem, path in self.uploads().items()},
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "LipsyncRequest":
        """Return the request of a result of `record`."""
        people = tuple(Voice(face, Path(speech)) for face, speech in record["people"])
        adapted = record["adapted"]
        return cls(
            Path(record["video"]),
            SpeechUploads(_path(record["speech"]), people, _path(record["sound"])),
            LipsyncOptions(**record["options"]),
            None if adapted is None else AdaptedWeights(Path(adapted["folder"]), adapted["name"]),
        )


def mask_video(options: LipsyncOptions) -> Path | None:
    """Return the masks of occluders, None if there are none to read."""
    return None if options.occluder in (None, AUTO) else Path(options.occluder)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
