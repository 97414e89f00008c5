from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from latentsync.app.people import Person
from latentsync.app.speech_uploads import MAX_VOICES, SpeechUploads
from latentsync.app.voice_rows import VoiceRows, speech_uploads
from latentsync.errors import InputError
from latentsync.pipelines.voices import Voice


def person(number: int) -> tuple[Person, Path]:
    return Person(f"person{number}", f"person{number}", 0, np.zeros(4)), Path(f"{number}.png")


def test_there_is_a_row_for_each_person():
    with gr.Blocks():
        rows = VoiceRows()
        rows.build()
    updates = rows.shown([person(1), person(3)])
    assert len(updates) == len(rows.outputs) == 4 * MAX_VOICES
    visible, images, faces, speeches = (updates[i : i + MAX_VOICES] for i in range(0, 4 * MAX_VOICES, MAX_VOICES))
    assert [update["visible"] for update in visible] == [True, True, False, False]
    assert images == ["1.png", "3.png", None, None]
    assert faces == ["person1", "person3", "", ""]
    assert [update["label"] for update in speeches] == ["Speech of person1", "Speech of person3", "Speech", "Speech"]
    assert all(update["value"] is None for update in speeches)


def test_more_people_than_rows_are_left_out():
    with gr.Blocks():
        rows = VoiceRows()
        rows.build()
    faces = rows.shown([person(number) for number in range(MAX_VOICES + 2)])[2 * MAX_VOICES :]
    assert faces[:MAX_VOICES] == ["person0", "person1", "person2", "person3"]


def test_rows_without_a_speech_are_skipped():
    rows = ["10,20", None, " left ", "a.wav", "", None, None, None]
    expected = SpeechUploads(None, (Voice("left", Path("a.wav")),), Path("mix.wav"))
    assert speech_uploads(None, rows, "mix.wav") == expected
    assert speech_uploads("s.wav", [None] * 8, None) == SpeechUploads(Path("s.wav"))


def test_a_speech_without_a_face_is_one_line():
    with pytest.raises(InputError, match="the face of speech 2 is empty"):
        speech_uploads(None, ["left", "a.wav", " ", "b.wav"], None)
