"""The part of the page where each person gets a speech of their own: a row for every person of the video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from latentsync.app.page_events import Update, given_path
from latentsync.app.people import Person
from latentsync.app.speech_uploads import MAX_VOICES, SpeechUploads
from latentsync.errors import InputError
from latentsync.pipelines.voices import Voice

_HELP = (
    "*Look for people* under *Whom to follow* shows a row for each of the first four. All who get a speech are "
    "generated in one run, the others stay unchanged. Leave *Speech* at the top empty."
)


class VoiceRows:
    """Components for the speech of each person, and for the sound of the result."""

    def build(self) -> None:
        """Create the components; rows are hidden until `shown`."""
        gr.Markdown(_HELP, elem_id="voices_help")
        self._rows: list[gr.Row] = []
        self._images: list[gr.Image] = []
        self._faces: list[gr.Textbox] = []
        self._speeches: list[gr.Audio] = []
        for number in range(1, MAX_VOICES + 1):
            self._add_row(number)
        self.sound = gr.Audio(
            label="Sound of the result, if not the speech itself (a mix with music)",
            sources=["upload"],
            type="filepath",
            buttons=[],
            elem_id="sound",
        )

    def _add_row(self, number: int) -> None:
        with gr.Row(visible=False, elem_id=f"voice_{number}") as row:
            image = gr.Image(
                type="filepath", interactive=False, show_label=False, buttons=[], height=110, min_width=110, scale=1
            )
            face = gr.Textbox("", label="Face", max_lines=1, max_length=40, min_width=110, scale=1)
            speech = gr.Audio(
                label=f"Speech of person {number}",
                sources=["upload", "microphone"],
                type="filepath",
                buttons=[],
                min_width=220,
                scale=4,
            )
        self._rows.append(row)
        self._images.append(image)
        self._faces.append(face)
        self._speeches.append(speech)

    @property
    def inputs(self) -> list[Any]:
        """Components that a lip-sync job takes: face and speech of each row, and the sound."""
        pairs = zip(self._faces, self._speeches, strict=True)
        return [*(component for pair in pairs for component in pair), self.sound]

    @property
    def outputs(self) -> list[Any]:
        """Components that `shown` updates."""
        return [*self._rows, *self._images, *self._faces, *self._speeches]

    def shown(self, people: Sequence[tuple[Person, Path]]) -> list[Update]:
        """Return the updates of `outputs` that show a row for each of the first people."""
        given = [(person.selector, person.caption, str(path)) for person, path in people[:MAX_VOICES]]
        rows = given + [None] * (MAX_VOICES - len(given))
        return [
            *(gr.update(visible=row is not None) for row in rows),
            *(None if row is None else row[2] for row in rows),
            *("" if row is None else row[0] for row in rows),
            *(gr.update(value=None, label="Speech" if row is None else f"Speech of {row[1]}") for row in rows),
        ]


def speech_uploads(speech: str | None, rows: Sequence[str | None], sound: str | None) -> SpeechUploads:
    """Return the uploads of a job.

    Args:
        speech: of one face.
        rows: face and speech of each row; rows without a speech are skipped.
        sound: sound of the result.

    Raises:
        InputError: a row has a speech and no face.
    """
    people = []
    for number, (face, upload) in enumerate(zip(rows[::2], rows[1::2], strict=True), start=1):
        path = given_path(upload)
        if path is not None and not (face or "").strip():
            raise InputError(f"the face of speech {number} is empty: name the person, such as left")
        if path is not None:
            people.append(Voice((face or "").strip(), path))
    return SpeechUploads(given_path(speech), tuple(people), given_path(sound))
