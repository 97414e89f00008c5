"""Scenes of two people agree with their ground truth."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from demo.synthetic import conversation
from demo.synthetic.conversation import Kind, has_turn, overlaps, random_turns
from demo.synthetic.people_scene import KINDS, PeopleScene, PersonTruth
from latentsync.face.mtcnn import MtcnnDetector
from tests.unit.demo.synthetic.people_without_espeak import vowels

SECONDS = 2.0
OTHER_SPEECH = (0.4 * np.sin(np.arange(40000) * 0.25) * np.sin(np.arange(40000) * 0.002)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def speech_without_espeak() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation, "speak", vowels)
        yield


def scene_of(kind: Kind, seconds: float = SECONDS, speech: dict[int, NDArray[np.float32]] | None = None) -> PeopleScene:
    return PeopleScene(1, KINDS.index(kind), kind, seconds, speech)


def frame_of(scene: PeopleScene, index: int) -> NDArray[np.uint8]:
    return next(scene.frames([index], supersample=1.0))


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    first, second = (PeopleScene(3, 1, "turns", SECONDS) for _ in range(2))
    other = PeopleScene(3, 2, "turns", SECONDS)
    assert first.description() == second.description()
    assert (first.samples == second.samples).all()
    assert (frame_of(first, 7) == frame_of(second, 7)).all()
    assert (frame_of(first, 7) != frame_of(other, 7)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_turns_fill_the_scene(kind: Kind) -> None:
    for seed in range(10):
        turns = random_turns(np.random.default_rng(seed), kind, 8.0)
        starts = [turn.start_s for turn in turns]
        assert starts == sorted(starts)
        assert all(1.5 <= turn.stop_s - turn.start_s <= 5.5 for turn in turns)
        assert all(turn.start_s >= 0.0 and turn.stop_s <= 8.0 for turn in turns)
        assert len({turn.person for turn in turns}) == (1 if kind == "still" else 2)
        shared = overlaps(turns)
        assert len(shared) == (kind == "overlap")
        for start, stop in shared:
            assert stop - start >= 0.8
            both = [has_turn(turns, person, np.array([start + 0.01, stop - 0.01, stop + 0.01])) for person in range(2)]
            assert np.logical_and(*both).tolist() == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_who_speaks_moves_the_mouth_and_who_listens_keeps_it_closed(kind: Kind) -> None:
    scene = scene_of(kind, 6.0)
    assert any(not truth.speaking.all() for truth in scene.truth)
    for samples, truth in zip(scene.voices, scene.truth, strict=True):
        assert (truth.opening[~truth.speaking] == 0.0).all()
        assert truth.speaking.any() == (np.abs(samples).max() > 0.1)
        if truth.speaking.any():
            assert truth.opening[truth.speaking].max() > 0.5


def test_a_listener_smiles_and_nods() -> None:
    scenes = [PeopleScene(5, index, "still", 6.0) for index in range(4)]
    listeners = [truth for scene in scenes for truth in scene.truth if not truth.speaking.any()]
    assert len(listeners) == 4
    assert max(truth.width.max() for truth in listeners) > 0.65
    assert min(truth.width.min() for truth in listeners) == 0.5
    pitches = [[state.turn[1] for state in scene.staging.states[k]] for scene in scenes for k in range(2)]
    assert max(np.ptp(pitch) for pitch in pitches) > 0.08
    assert all(np.ptp(truth.anchors, axis=0).max() > 2.0 for truth in listeners)


def test_other_speech_leaves_no_smile() -> None:
    silence = np.zeros(0, dtype=np.float32)
    scenes = [PeopleScene(5, index, "still", 6.0, {0: silence, 1: silence}) for index in range(4)]
    assert max(scene.staging.smiles.max() for scene in scenes) > 0.15
    assert all((truth.width == 0.5).all() for scene in scenes for truth in scene.truth)


def test_the_sound_is_the_sum_of_the_voices() -> None:
    scene = scene_of("overlap", 4.0)
    left, right = scene.voices
    assert scene.samples.shape == (64000,)
    assert np.abs(left + right).max() < 1.0
    assert (scene.samples == left + right).all()
    ((start, stop),) = overlaps(scene.turns)
    middle = slice(round((start + 0.2) * 16000), round((stop - 0.2) * 16000))
    assert min(np.abs(voice[middle]).max() for voice in scene.voices) > 0.05


def test_other_speech_changes_only_the_mouth_of_its_person() -> None:
    own, dubbed = scene_of("turns"), scene_of("turns", speech={1: OTHER_SPEECH})
    assert (dubbed.voices[1] == OTHER_SPEECH[:32000]).all()
    assert (dubbed.voices[0] == own.voices[0]).all()
    assert np.abs(dubbed.truth[1].opening - own.truth[1].opening).max() > 0.3
    for name in ("anchors", "boxes", "speaking", "visible_share", "yaw"):
        assert (getattr(dubbed.truth[1], name) == getattr(own.truth[1], name)).all(), name
    frame = int(np.abs(dubbed.truth[1].opening - own.truth[1].opening).argmax())
    changed = np.argwhere((frame_of(own, frame) != frame_of(dubbed, frame)).any(axis=-1))
    x0, y0, x1, y1 = own.truth[1].boxes[frame]
    middle = own.truth[1].anchors[frame, 2, 1]
    assert len(changed) > 50
    assert (changed >= [middle, x0 - 3]).all()
    assert (changed <= [y1 + 0.3 * (y1 - y0), x1 + 3]).all()


def test_shorter_other_speech_is_followed_by_a_closed_mouth() -> None:
    scene = scene_of("crossing", speech={0: OTHER_SPEECH[:16000]})
    assert len(scene.voices[0]) == 32000
    assert (scene.voices[0][16000:] == 0.0).all()
    assert (scene.truth[0].opening[29:] == 0.0).all()
    assert (scene.truth[0].width[29:] == 0.5).all()


def test_people_who_cross_swap_sides_and_hide_each_other() -> None:
    scene = scene_of("crossing", 4.0)
    assert scene.staging.crossing is not None
    first, last = scene.staging.crossing
    middles = [truth.boxes[:, [0, 2]].mean(axis=1) for truth in scene.truth]
    assert (middles[0][:first] < middles[1][:first] - 200).all()
    assert (middles[0][last:] > middles[1][last:] + 200).all()
    assert scene.cuts == []
    front, back = scene.truth[scene.staging.front], scene.truth[1 - scene.staging.front]
    assert (front.visible_share == 1.0).all()
    closest = int(np.abs(middles[0] - middles[1]).argmin())
    assert back.visible_share[closest] < 0.1
    assert not back.visible[closest]
    assert first <= closest < last
    assert (back.visible_share[: first + 5] == 1.0).all()
    steps = [np.abs(np.diff(truth.anchors[:, 2], axis=0)).max() for truth in scene.truth]
    assert max(steps) < 30


def test_after_a_cut_the_people_have_swapped_sides_in_another_framing() -> None:
    scene = scene_of("cut")
    assert scene.cuts == [25]
    middles = [truth.boxes[:, [0, 2]].mean(axis=1) for truth in scene.truth]
    assert (middles[0] < middles[1]).tolist() == [True] * 25 + [False] * 25
    widths = scene.truth[0].boxes[:, 2] - scene.truth[0].boxes[:, 0]
    assert widths[25:].min() > 1.05 * widths[:25].max()
    before, after = (frame_of(scene, frame).astype(int) for frame in (24, 25))
    assert np.abs(before - after).mean() > 20


@pytest.mark.parametrize("kind", KINDS)
def test_faces_are_detected_where_the_ground_truth_says(kind: Kind) -> None:
    scene = scene_of(kind)
    index = scene.num_frames - 1
    (faces,) = MtcnnDetector().detect([frame_of(scene, index)])
    assert len(faces) == 2
    for truth in scene.truth:
        face = min(faces, key=lambda face: _distance(face.anchors, truth, index))
        across = np.linalg.norm(truth.anchors[index, 1] - truth.anchors[index, 0])
        assert _distance(face.anchors, truth, index) < 0.2 * across
        assert face.box[2] - face.box[0] > 90
        assert _overlap(face.box, truth.boxes[index]) > 0.6


def _distance(anchors: NDArray[np.float32], truth: PersonTruth, frame: int) -> float:
    return float(np.abs(anchors - truth.anchors[frame]).max())


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the intersection of two boxes divided by their union."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    return shared / (sum(float(np.prod(box[2:] - box[:2])) for box in (one, other)) - shared)
