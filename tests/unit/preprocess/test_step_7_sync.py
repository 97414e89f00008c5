"""Step 7 by the demo SyncNet on a synthetic talker, and by a stand-in for SyncNet-v2 on a face track."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.synthetic.clip import TalkingClip
from demo.synthetic.film import write_training_film
from demo.synthetic.speech import read_wav, write_wav
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.reader import VideoReader
from preprocess import sync_judge
from preprocess.clip import Clip
from preprocess.encoding import SAMPLES_PER_FRAME, check_clip
from preprocess.face_track_file import ClipFace, write_face_track
from preprocess.step import Process
from preprocess.steps.step_7_sync import SCORERS, SyncConfig, SyncStep, offset_left
from preprocess.sync_judge import stable_judge
from preprocess.sync_shift import KeptPart, kept_part
from preprocess.verdict import Done, Rejected

NUM_FRAMES = 60
LEAD = 10
"""Frames of the talk before the clips' sound begins, so that the picture can be moved both ways."""
SIDE = 64
CPU = torch.device("cpu")
DEMO = SyncConfig(scorer="stable_syncnet")


@dataclass(frozen=True)
class Talk:
    """A synthetic talker: crops (n, 64, 64, 3) and the samples that belong to them."""

    crops: np.ndarray
    samples: np.ndarray

    def cut(self, offset: int) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and sound of 60 frames, the picture `offset` frames late."""
        sound = self.samples[LEAD * SAMPLES_PER_FRAME : (LEAD + NUM_FRAMES) * SAMPLES_PER_FRAME]
        return self.crops[LEAD - offset : LEAD - offset + NUM_FRAMES], sound


@pytest.fixture(scope="module")
def talk(repository: Path) -> Talk:
    num_frames = NUM_FRAMES + 2 * LEAD
    samples = read_wav(repository / "assets" / "demo1_audio.wav")[: num_frames * SAMPLES_PER_FRAME]
    return Talk(np.stack(list(TalkingClip(1, 0, 0, samples).crops(SIDE))), samples)


@pytest.fixture(scope="module")
def process() -> Process:
    return SyncStep(DEMO).load(CPU)


@pytest.fixture(scope="module")
def scorer(repository: Path) -> SyncScorer:
    return stable_judge(repository / DEMO.stable_config, repository / DEMO.stable_checkpoint, CPU).scorer


def write_clip(folder: Path, crops: np.ndarray, samples: np.ndarray) -> Clip:
    write_wav(folder / "speech.wav", samples)
    write_training_film(crops, folder / "speech.wav", folder / "clip.mp4")
    return Clip("0" * 16, "0" * 16, "clip", folder / "clip.mp4")


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with VideoReader(path) as frames, AudioSamples.decode(path) as sound:
        return np.stack(list(frames)), sound.read(0, sound.num_samples)


def work_folder(folder: Path) -> Path:
    (folder / "work").mkdir()
    return folder / "work"


def test_a_clip_in_sync_goes_on_as_it_is(tmp_path: Path, talk: Talk, process: Process):
    work = work_folder(tmp_path)
    verdict = process(write_clip(tmp_path, *talk.cut(0)), work)
    assert isinstance(verdict, Done)
    (output,) = verdict.outputs
    assert output.file is None
    assert output.facts["offset"] == 0
    assert output.facts["scorer"] == "stable_syncnet"
    assert isinstance(output.facts["confidence"], float)
    assert output.facts["confidence"] > 0.4
    assert output.facts.keys() == {"offset", "confidence", "distance", "scorer"}
    assert not list(work.iterdir())


@pytest.mark.parametrize("offset", [-6, 2])
def test_the_offset_is_taken_out(tmp_path: Path, talk: Talk, process: Process, offset: int):
    clip = write_clip(tmp_path, *talk.cut(offset))
    verdict = process(clip, work_folder(tmp_path))
    assert isinstance(verdict, Done)
    (output,) = verdict.outputs
    num_frames = NUM_FRAMES - abs(offset)
    assert output.file is not None
    assert (output.facts["offset"], output.facts["num_frames"]) == (offset, num_frames)
    check_clip(output.file, num_frames)
    crops, samples = read_clip(output.file)
    first, first_sound = max(offset, 0), max(-offset, 0)
    before = read_clip(clip.path)
    np.testing.assert_array_equal(samples, before[1][first_sound * SAMPLES_PER_FRAME :][: len(samples)])
    distances = [np.abs(before[0][at : at + 3] - crops[:3].astype(float)).mean() for at in range(10)]
    assert int(np.argmin(distances)) == first
    again = process(Clip("1", "1", "mended", output.file), tmp_path / "work")
    assert isinstance(again, Done)
    assert again.outputs[0].facts["offset"] == 0


@pytest.mark.parametrize("offset", [-5, -4, -3, -2, -1, 1, 3, 4, 5, 6])
def test_every_offset_is_measured_and_none_is_left(talk: Talk, scorer: SyncScorer, offset: int):
    crops, samples = talk.cut(offset)
    score = scorer.score(crops, samples)
    assert score.offset == offset
    assert score.confidence > DEMO.min_stable_confidence
    assert offset_left(scorer, crops, samples, offset) == 0


def test_a_large_offset_is_rejected(tmp_path: Path, talk: Talk, process: Process):
    verdict = process(write_clip(tmp_path, *talk.cut(-7)), work_folder(tmp_path))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "offset_too_large"
    assert verdict.facts["offset"] == -7


def test_other_speech_is_out_of_sync(tmp_path: Path, talk: Talk, process: Process):
    crops, samples = talk.cut(0)
    verdict = process(write_clip(tmp_path, crops, samples[::-1].copy()), work_folder(tmp_path))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "out_of_sync"
    assert verdict.facts["confidence"] < DEMO.min_stable_confidence  # type: ignore[operator]


def test_short_clips_are_rejected(tmp_path: Path, talk: Talk, process: Process):
    crops, samples = talk.cut(0)
    work = work_folder(tmp_path)
    for num_frames, num_samples in ((49, len(samples)), (NUM_FRAMES, 49 * SAMPLES_PER_FRAME)):
        verdict = process(write_clip(tmp_path, crops[:num_frames], samples[:num_samples]), work)
        assert isinstance(verdict, Rejected)
        assert verdict.reason == "too_short"
    late = talk.cut(5)
    verdict = process(write_clip(tmp_path, late[0][:52], late[1][: 52 * SAMPLES_PER_FRAME]), work)
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "too_short"
    assert "47 frames are left" in verdict.detail


@pytest.mark.parametrize(
    ("offset", "num_frames", "num_sound_frames", "expected"),
    [
        (0, 100, 100, KeptPart(0, 0, 100)),
        (3, 100, 100, KeptPart(3, 0, 97)),
        (-3, 100, 100, KeptPart(0, 3, 97)),
        (3, 100, 95, KeptPart(3, 0, 95)),
        (-3, 100, 105, KeptPart(0, 3, 100)),
        (3, 2, 9, KeptPart(3, 0, -1)),
    ],
)
def test_which_frames_are_kept(offset: int, num_frames: int, num_sound_frames: int, expected: KeptPart):
    assert kept_part(offset, num_frames, num_sound_frames * SAMPLES_PER_FRAME + 639) == expected


@dataclass
class Scripted:
    """A scorer that says what it is told, and remembers what it was shown."""

    verdicts: list[SyncScore]
    shown: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        self.shown.append((crops, samples))
        return self.verdicts[len(self.shown) - 1]


@pytest.fixture
def tracked(tmp_path: Path, talk: Talk) -> Clip:
    """An aligned clip of 60 frames with its segment, 224 px, where the face fills a square of 120 px."""
    crops, samples = talk.cut(0)
    clip = write_clip(tmp_path, crops, samples)
    write_training_film(
        np.repeat(np.repeat(crops, 4, 1), 4, 2)[:, :224, :224], tmp_path / "speech.wav", tmp_path / "segment.mp4"
    )
    box = np.tile(np.array([50, 40, 170, 160], np.float32), (NUM_FRAMES, 1))
    ones = np.ones(NUM_FRAMES, np.float32)
    write_face_track(tmp_path / "faces.npz", ClipFace(box, np.zeros((NUM_FRAMES, 3, 2), np.float32), ones, ones > 0))
    facts = {"segment": str(tmp_path / "segment.mp4"), "faces": str(tmp_path / "faces.npz")}
    return Clip(clip.key, clip.source, clip.name, clip.path, facts)


def process_by(monkeypatch: pytest.MonkeyPatch, folder: Path, scorer: Scripted) -> Process:
    """The step with a stand-in for SyncNet-v2."""
    monkeypatch.setattr(sync_judge, "load_syncnet_v2", lambda path, device: path)
    monkeypatch.setattr(sync_judge, "SyncNetV2Scorer", lambda network: scorer)
    (folder / "syncnet_v2.model").write_bytes(b"weights")
    return SyncStep(SyncConfig(syncnet_v2_checkpoint=str(folder / "syncnet_v2.model"))).load(CPU)


def test_syncnet_v2_sees_the_face_track_of_the_segment(tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch):
    scorer = Scripted([SyncScore(-4, 3.1, 7.5), SyncScore(0, 3.3, 7.4)])
    verdict = process_by(monkeypatch, tmp_path, scorer)(tracked, work_folder(tmp_path))
    assert isinstance(verdict, Done)
    expected = {"offset": -4, "confidence": 3.1, "distance": 7.5, "scorer": "syncnet_v2", "num_frames": 56}
    assert verdict.outputs[0].facts == expected
    assert [crops.shape for crops, _ in scorer.shown] == [(60, 224, 224, 3), (56, 224, 224, 3)]
    np.testing.assert_array_equal(scorer.shown[1][0], scorer.shown[0][0][:56])
    np.testing.assert_array_equal(scorer.shown[1][1], scorer.shown[0][1][4 * SAMPLES_PER_FRAME :])
    with VideoReader(tracked.facts["segment"]) as frames:  # type: ignore[arg-type]
        face = next(iter(frames))[40:208, 26:194]  # 60 px above the centre (110, 100) to 108 below, 84 to either side
    assert np.abs(scorer.shown[0][0][0][::4, ::4] - face[::3, ::3].astype(float)).mean() < 6


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ([SyncScore(0, 2.9, 9.0)], "out_of_sync"),
        ([SyncScore(7, 8.0, 6.0)], "offset_too_large"),
        ([SyncScore(2, 8.0, 6.0), SyncScore(1, 8.0, 6.0)], "out_of_sync"),
    ],
)
def test_verdicts_of_syncnet_v2(
    tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch, verdicts: list[SyncScore], reason: str
):
    verdict = process_by(monkeypatch, tmp_path, Scripted(verdicts))(tracked, work_folder(tmp_path))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == reason
    assert verdict.facts["offset"] == verdicts[0].offset


def test_a_face_track_is_asked_for(tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch):
    process = process_by(monkeypatch, tmp_path, Scripted([]))
    with pytest.raises(InputError, match="run step 5"):
        process(Clip("0", "0", "clip", tracked.path), work_folder(tmp_path))
    half = np.zeros((NUM_FRAMES, 4), np.float32)
    half[::2] = [0, 0, 120, 120]
    half[1::2] = [100, 100, 220, 220]
    nothing = np.zeros((NUM_FRAMES, 3, 2), np.float32)
    write_face_track(tmp_path / "faces.npz", ClipFace(half, nothing, half[:, 0], half[:, 0] > 0))
    verdict = process(tracked, tmp_path / "work")
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "too_short"


def test_missing_weights_stop_the_run(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is missing"):
        SyncStep(SyncConfig(syncnet_v2_checkpoint=str(tmp_path / "none.model"))).weights()
    with pytest.raises(CheckpointError, match="is missing"):
        SyncStep(SyncConfig("stable_syncnet", stable_checkpoint=str(tmp_path / "none.pt"))).weights()
    names = [path.name for path in SyncStep(DEMO).weights()]
    assert names == ["stable_syncnet.pt", "syncnet.yaml"]


@pytest.mark.parametrize(
    "settings", [{"scorer": "ours"}, {"max_offset": -1}, {"max_offset": 15}, {"min_frames": 36}, {"crf": 52}]
)
def test_settings_out_of_range_are_refused(settings: dict):
    with pytest.raises(ValueError, match="sync"):
        SyncConfig(**settings)


def test_every_reason_is_declared():
    assert set(SyncStep.reasons) == {"out_of_sync", "offset_too_large", "too_short"}
    assert SyncConfig().scorer in SCORERS


def test_a_syncnet_on_latents_cannot_judge_pixels(tmp_path: Path, repository: Path):
    path = tmp_path / "latent.yaml"
    path.write_text("data: {latent_space: true, lower_half: false}\nvae: anything\n")
    with pytest.raises(ConfigError, match="on latents"):
        stable_judge(path, repository / DEMO.stable_checkpoint, CPU)
    path.write_text("data: {resolution: 0}\n")
    with pytest.raises(ConfigError, match="resolution"):
        stable_judge(path, repository / DEMO.stable_checkpoint, CPU)
