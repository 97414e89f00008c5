"""Things in front of the face, and faces turned away, with tiny random networks and a detector with known faces."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.synthetic.people_scene import SIDES, PeopleScene
from latentsync.errors import InputError
from latentsync.face.detection import Detection
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.report import OCCLUDED, TURNED_AWAY
from latentsync.pipelines.synthesis import WindowSynthesizer
from tests.integration.test_lipsync_pipeline import HEIGHT, QUICK, WIDTH, make_speech, make_video
from tests.integration.test_several_people import Collector
from tests.tiny_pipeline import ANCHORS, tiny_pipeline

NUM_FRAMES = 40
TURN_DEGREES, MAX_YAW = 35.0, 20.0


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


def write_masks(folder: Path, num_frames: int = NUM_FRAMES, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """Write masks of a bar that moves from the left to the right, and is in front of the mouth in the middle."""
    folder.mkdir()
    for index in range(num_frames):
        Image.fromarray(mask_of(index, size)).save(folder / f"{index}.png")
    return folder


def mask_of(index: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    mask = np.zeros(size[::-1], dtype=np.uint8)
    left = 3 * index
    mask[50:, left : left + 14] = 255
    mask[50:, left + 14 : left + 16] = 128
    return mask


@pytest.mark.parametrize("sync_mode", ["bounce", pytest.param("loop", marks=pytest.mark.long)])
def test_masked_pixels_are_the_sources_and_the_others_of_the_mouth_are_generated(
    pipeline: LipsyncPipeline, tmp_path: Path, sync_mode: str
):
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 2.4)
    free, masked = Collector(), Collector()
    quick = replace(QUICK, sync_mode=sync_mode)
    pipeline(video, speech, tmp_path / "free.mp4", quick, frame_callback=free)
    options = replace(quick, occluder=str(write_masks(tmp_path / "masks")))
    report = pipeline(video, speech, tmp_path / "out.mp4", options, frame_callback=masked)
    changed, without = masked.changed(), free.changed()
    assert len(changed) == 60
    hidden = 0
    again = range(38, 18, -1) if sync_mode == "bounce" else range(20)
    for index, source in enumerate([*range(40), *again]):
        mask = mask_of(source) == 255
        assert not changed[index][mask].any()
        hidden += int(without[index][mask].sum())
        assert changed[index][without[index] & ~mask].mean() > 0.6
    assert hidden > 5000
    ((start, stop),) = report.people[0].spans[OCCLUDED][:1]
    assert 0 < start < stop < 60
    seconds = f"{start / 25:.2f}-{stop / 25:.2f} s"
    assert f"something in front of the mouth, kept from the source: {seconds}" in "\n".join(report.lines())
    assert report.values()["people"][0]["spans"][OCCLUDED][0] == [start, stop]


def test_the_networks_do_not_receive_the_occluder(
    pipeline: LipsyncPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[np.ndarray] = []
    encode = WindowSynthesizer.encode

    def spy(self, crops, *rest):
        seen.append(crops.cpu().numpy())
        return encode(self, crops, *rest)

    monkeypatch.setattr(WindowSynthesizer, "encode", spy)
    video, speech = make_video(tmp_path / "v.mp4", 20), make_speech(tmp_path / "s.wav", 0.8)
    pipeline(video, speech, tmp_path / "free.mp4", QUICK)
    free = np.concatenate(seen)
    seen.clear()
    pipeline(video, speech, tmp_path / "o.mp4", replace(QUICK, occluder=str(write_masks(tmp_path / "masks", 20))))
    filled = np.concatenate(seen)
    differs = np.abs(filled - free).max(axis=(1, 2, 3)) > 0
    assert not differs[:3].any()
    assert differs[9:].all()


@pytest.mark.parametrize("num_masks", [NUM_FRAMES - 2, NUM_FRAMES + 2])
def test_another_number_of_masks_is_refused_before_anything_is_generated(
    pipeline: LipsyncPipeline, tmp_path: Path, num_masks: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(WindowSynthesizer, "encode", lambda *given: pytest.fail("the networks have started"))
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 2.0)
    options = replace(QUICK, occluder=str(write_masks(tmp_path / "masks", num_masks)))
    with pytest.raises(InputError, match=rf"masks has {num_masks} masks, .*v\.mp4 has 40 frames"):
        pipeline(video, speech, tmp_path / "out.mp4", options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "s.wav", "v.mp4"]


@pytest.mark.parametrize("fault", ["size", "length", "absent", "empty"])
def test_masks_that_cannot_fit_are_refused_before_the_faces_are_searched(tmp_path: Path, fault: str):
    pipeline = tiny_pipeline(lambda frame: pytest.fail("the detector has started"))
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 2.0)
    masks = tmp_path / "masks"
    if fault == "empty":
        masks.mkdir()
    elif fault != "absent":
        write_masks(masks, *((NUM_FRAMES, (96, 64)) if fault == "size" else (10, (WIDTH, HEIGHT))))
    with pytest.raises(InputError, match="masks"):
        pipeline(video, speech, tmp_path / "out.mp4", replace(QUICK, occluder=str(masks)))


def test_the_output_never_replaces_a_mask(pipeline: LipsyncPipeline, tmp_path: Path):
    masks = make_video(tmp_path / "masks.mp4", NUM_FRAMES)
    before = masks.read_bytes()
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 1.0)
    with pytest.raises(InputError, match=r"masks\.mp4 is also an input"):
        pipeline(video, speech, masks, replace(QUICK, occluder=str(masks)))
    assert masks.read_bytes() == before


class TurningFace:
    """Detector of one face whose nose moves to the right from frame 20 to 39, as a yaw of about 48 degrees."""

    def __init__(self) -> None:
        self.num_frames = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = []
        for index in range(self.num_frames, self.num_frames + len(frames)):
            anchors = ANCHORS + np.array([[0, 0], [0, 0], [20.0 if 20 <= index < 40 else 0, 0]])
            found.append([Detection(np.array([20, 10, 100, 110]), 0.99, anchors.astype(np.float32))])
        self.num_frames += len(frames)
        return found


def test_a_face_that_is_turned_away_fades_to_the_source_and_back(tmp_path: Path):
    pipeline = tiny_pipeline()
    video, speech = make_video(tmp_path / "v.mp4", 60), make_speech(tmp_path / "s.wav", 2.4)
    frames = Collector()
    pipeline.detector = TurningFace()
    report = pipeline(video, speech, tmp_path / "out.mp4", replace(QUICK, max_yaw=30), frame_callback=frames)
    changes = np.abs(np.stack(frames.results).astype(int) - np.stack(frames.sources)).mean(axis=(1, 2, 3))
    assert (changes[20:40] == 0).all()
    assert (changes[:13] > 0).all()
    assert (changes[47:] > 0).all()
    ((start, stop),) = report.people[0].spans[TURNED_AWAY]
    zero = np.flatnonzero(changes == 0)
    assert (zero[0] - start, stop - 1 - zero[-1]) == (4, 4)
    fade = changes[start - 1 : zero[0] + 1]
    assert (np.diff(fade) < 0).all()
    assert report.num_synced == 60 - len(zero)
    text = "\n".join(report.lines())
    assert f"turned away, faded to the source: {start / 25:.2f}-{stop / 25:.2f} s" in text
    assert "absent" not in text
    pipeline.detector = TurningFace()
    usual = pipeline(video, speech, tmp_path / "usual.mp4", QUICK)
    assert (usual.num_synced, usual.people[0].spans) == (60, {})


class TrueFaces:
    """Detector of the people of a rendered scene, with an error of the anchors of 1 % of the distance of the eyes."""

    def __init__(self, scene: PeopleScene) -> None:
        rng = np.random.default_rng(0)
        self._faces = [
            [
                Detection(
                    box, 0.99, (points + rng.normal(0, 0.01 * (points[1, 0] - points[0, 0]), (3, 2))).astype("f4")
                )
                for box, points in ((truth.boxes[frame], truth.anchors[frame]) for truth in scene.truth)
            ]
            for frame in range(scene.num_frames)
        ]
        self._num_frames = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        start = self._num_frames
        self._num_frames += len(frames)
        return self._faces[start : self._num_frames]


def test_a_rendered_person_who_turns_away_keeps_the_source_for_once(pipeline: LipsyncPipeline, tmp_path: Path):
    silence = {person: np.zeros(0, dtype=np.float32) for person in range(2)}
    scene = PeopleScene(3, 0, "still", 4.0, silence, (256, 144), TURN_DEGREES)
    assert scene.head_turn is not None
    with VideoWriter(tmp_path / "v.mp4", 256, 144, Fraction(25), crf=0) as writer:
        for frame in scene.frames(supersample=1.0):
            writer.write(frame)
    frames, people = Collector(), []
    options = replace(QUICK, max_yaw=MAX_YAW, face=SIDES[scene.head_turn.person])
    pipeline.detector = TrueFaces(scene)
    report = pipeline(
        *(tmp_path / "v.mp4", make_speech(tmp_path / "s.wav", 4.0), tmp_path / "out.mp4", options),
        frame_callback=frames,
        people_callback=lambda job, found: people.extend(found),
    )
    yaw = np.abs(scene.truth[scene.head_turn.person].yaw)
    strength = people[0].plan.strength
    assert (strength[yaw > MAX_YAW + 2] == 0).all()
    assert (strength[yaw < MAX_YAW - 10][[0, -1]] == 1).all()
    kept = np.flatnonzero(strength == 0)
    assert len(kept) == kept[-1] - kept[0] + 1 >= 25  # one part
    assert np.abs(np.diff(strength)).max() < 0.2001  # a fade of four frames at least
    assert (np.diff(strength)[: kept[0]] <= 0).all()
    assert (np.diff(strength)[kept[-1] :] >= 0).all()
    changed = frames.changed().any(axis=(1, 2))
    assert changed.tolist() == (strength > 0).tolist()
    ((start, stop),) = report.people[0].spans[TURNED_AWAY]
    assert (start, stop) == (kept[0] - 4, kept[-1] + 5)
    assert f"turned away, faded to the source: {start / 25:.2f}-{stop / 25:.2f} s" in "\n".join(report.lines())
