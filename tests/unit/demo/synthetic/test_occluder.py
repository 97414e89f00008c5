"""Things in front of the mouth hide what their masks say, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from demo.synthetic import conversation
from demo.synthetic.clip import TalkingClip
from demo.synthetic.occluder import OCCLUDERS, Occluder, write_mask_images, write_mask_video
from demo.synthetic.occluder_drawing import OccluderKind
from demo.synthetic.people_scene import PeopleScene
from latentsync.media.occluder_masks import open_masks
from latentsync.media.reader import VideoReader
from tests.unit.demo.synthetic.people_without_espeak import vowels

SPEECH = (0.4 * np.sin(np.arange(16000) * 0.25) * np.sin(np.arange(16000) * 0.002)).astype(np.float32)


@pytest.fixture(scope="module")
def clip() -> TalkingClip:
    return TalkingClip(2, 1, 1.0, SPEECH, frame_size=160)


@pytest.fixture(scope="module", params=OCCLUDERS)
def occluder(request: pytest.FixtureRequest, clip: TalkingClip) -> Occluder:
    return occluder_of(request.param, clip)


def occluder_of(kind: OccluderKind, clip: TalkingClip) -> Occluder:
    return Occluder(kind, np.random.default_rng(4), clip.person, clip.scene, clip.states, (160, 160))


def test_the_mask_covers_exactly_what_changes(occluder: Occluder) -> None:
    index = int(occluder.mouth_hidden().argmax())
    mask = occluder.mask(index)
    for level in (0, 255):
        plain = np.full((160, 160, 3), level, dtype=np.uint8)
        drawn = occluder.draw(plain, index)
        assert (drawn[mask == 0] == level).all()
        assert (drawn[mask == 255] != level).any(axis=-1).mean() > 0.9
    black, white = (occluder.draw(np.full((160, 160, 3), level, dtype=np.uint8), index) for level in (0, 255))
    assert (black[mask == 255] == white[mask == 255]).all()
    assert 0.02 < (mask == 255).mean() < 0.4
    assert ((mask > 0) & (mask < 255)).any()


def test_it_comes_before_the_mouth_and_leaves_again(occluder: Occluder) -> None:
    hidden = occluder.mouth_hidden()
    assert hidden[0] == hidden[-1] == 0.0
    assert not occluder.mask(0).any()
    assert not occluder.mask(24).any()
    assert hidden.max() > 0.6
    assert (hidden > 0.3).sum() >= 4


def test_it_is_a_function_of_its_seed(clip: TalkingClip) -> None:
    first, second = (occluder_of("mug", clip) for _ in range(2))
    plain = np.full((160, 160, 3), 90, dtype=np.uint8)
    assert (first.draw(plain, 11) == second.draw(plain, 11)).all()
    drawn = list(first.over([plain] * 3))
    assert [(frame == first.draw(plain, k)).all() for k, frame in enumerate(drawn)] == [True] * 3


def test_masks_are_stored_without_loss(clip: TalkingClip, tmp_path: Path) -> None:
    occluder = occluder_of("hand", clip)
    masks = [occluder.mask(index) for index in (0, 10, 12)]
    write_mask_video(masks, (160, 160), tmp_path / "mask.mkv")
    write_mask_images(masks, tmp_path / "masks")
    assert {path.name for path in tmp_path.iterdir()} == {"mask.mkv", "masks"}
    with VideoReader(tmp_path / "mask.mkv") as frames:
        stored = list(frames)
    assert [(frame[..., 0] == mask).all() for frame, mask in zip(stored, masks, strict=True)] == [True] * 3
    assert open_masks(tmp_path / "mask.mkv").size == open_masks(tmp_path / "masks").size == (160, 160)
    assert len(open_masks(tmp_path / "masks").files) == 3


def test_a_failed_folder_of_images_leaves_nothing(tmp_path: Path) -> None:
    def masks() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((4, 4), dtype=np.uint8)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_mask_images(masks(), tmp_path / "masks")
    assert list(tmp_path.iterdir()) == []


def test_in_a_scene_it_does_not_depend_on_the_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "speak", vowels)
    own, dubbed = (PeopleScene(6, 2, "crossing", 1.0, speech) for speech in ({}, {0: SPEECH, 1: SPEECH}))
    first, second = (scene.occluder("microphone") for scene in (own, dubbed))
    assert first.name == ("left", "right")[own.staging.front]
    assert (first.mask(12) == second.mask(12)).all()
    assert first.mask(12).any()
    assert first.description() == second.description()
