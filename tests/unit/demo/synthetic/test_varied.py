"""Varied people, scenes and cameras of the synthetic room."""

import numpy as np
import pytest

from demo.synthetic.camera import Camera
from demo.synthetic.clip import VARIED_TURNS, TalkingClip
from demo.synthetic.clip_set import DatasetConfig, make_clip
from demo.synthetic.varied import varied_person, varied_scene

SILENCE = np.zeros(1280, dtype=np.float32)
GREY = np.full((64, 64, 3), 128, dtype=np.uint8)


def _gradient(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(np.float32), axis=1)).mean())


def test_a_perfect_camera_changes_nothing():
    assert np.array_equal(Camera().expose(GREY, np.random.default_rng(0)), GREY)


@pytest.mark.parametrize("grain", [0.0, 0.7])
def test_the_noise_of_a_camera_has_the_named_deviation(grain: float):
    noisy = Camera(noise=4.0, noise_size=grain).expose(GREY, np.random.default_rng(0)).astype(np.float32)
    assert noisy.std() == pytest.approx(4.0, abs=0.5)
    assert noisy.mean() == pytest.approx(128.0, abs=0.3)


def test_soft_focus_and_compression_remove_detail():
    rng = np.random.default_rng(1)
    sharp = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert _gradient(Camera(blur=1.0).expose(sharp, rng)) < 0.8 * _gradient(sharp)
    packed = Camera(quality=30).expose(sharp, rng)
    assert packed.shape == sharp.shape
    assert not np.array_equal(packed, sharp)


def test_most_varied_lips_have_almost_the_colour_of_the_skin():
    people = [varied_person(np.random.default_rng(seed)) for seed in range(200)]
    ratios = np.array([np.array(person.lip) / np.array(person.skin) for person in people])
    red_over_green = ratios[:, 0] / ratios[:, 1]
    assert np.median(red_over_green) < 1.4, "those of Person.random: about 1.5"
    assert min(person.teeth_light for person in people) < 0.65
    assert {person.beard for person in people} == {"none", "stubble", "full", "moustache", "goatee"}


def test_varied_scenes_are_neither_black_nor_overexposed():
    scenes = [varied_scene(np.random.default_rng(seed)) for seed in range(200)]
    sums = np.array([np.array(scene.key) + np.array(scene.ambient) for scene in scenes]).mean(axis=1)
    assert sums.min() > 0.6
    assert sums.max() < 1.7


def test_heads_turn_up_to_the_limit_and_no_further():
    clips = [TalkingClip(5, index, 0.0, SILENCE, look="varied") for index in range(60)]
    yaws = np.abs([state.turn[0] for clip in clips for state in clip.states])
    assert 0.28 < yaws.max() <= VARIED_TURNS.limit[0]


@pytest.mark.parametrize(("name", "value"), [
    ("lip_softness", 0.03), ("lip_gloss", 0.0), ("teeth_light", 0.5), ("teeth_hidden", 0.04), ("skin_texture", 1.0),
    ("moles", 3),
])  # fmt: skip
def test_every_attribute_changes_the_crop(name: str, value: float):
    person = TalkingClip(5, 0, 0.0, SILENCE).person
    crops = []
    for changed in (person, type(person)(**{**person.as_dict(), name: value})):
        clip = TalkingClip(5, 0, 0.0, SILENCE, person=changed)
        clip.states = [type(state)(**{**vars(state), "opening": 0.8}) for state in clip.states[:1]]
        crops.append(next(clip.crops(64)).astype(int))
    assert np.abs(crops[0] - crops[1]).max() > 5


def test_clips_of_a_mixed_data_set_name_their_look(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.synthetic.clip_set._write_folder", lambda clip, config, folder: looks.append(clip.look))
    monkeypatch.setattr("demo.synthetic.clip.random_speech", lambda *_: type("Speech", (), {"samples": SILENCE})())
    looks: list[str] = []
    for index in range(6):
        make_clip(DatasetConfig(tmp_path, look="mixed"), index)
    assert looks == ["plain", "varied", "varied", "varied", "varied", "plain"]
    assert TalkingClip(1, 1, 0.0, SILENCE, look="varied").description()["look"] == "varied"
