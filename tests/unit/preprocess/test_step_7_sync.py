"""Step 7 with the demo SyncNet on a synthetic talker, and with a stand-in for SyncNet-v2 on a face track."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.synthetic.clip import TalkingClip
from demo.synthetic.speech import read_wav, write_wav
from latentsync.errors import CheckpointError, ConfigError, InputError
from latentsync.judges import syncnet_v2
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.reader import VideoReader
from latentsync.media.training_clip import write_training_clip
from preprocess.step import Clip, Done, ProcessClip, Rejected
from preprocess.steps.clip_files import SAMPLES_PER_FRAME, check_clip
from preprocess.steps.single_face import SingleFace, write_single_face
from preprocess.steps.step_7_sync import SCORERS, SyncConfig, SyncedPart, SyncStep, remaining_offset, synced_part

NUM_FRAMES = 60
LEAD = 10
"""Frames before the start of the clips' audio, so that the crops can be shifted both ways."""
SIDE = 64
CPU = torch.device("cpu")
DEMO = SyncConfig(scorer="stable_syncnet")


@dataclass(frozen=True)
class Talk:
    """A synthetic talker: crops (n, 64, 64, 3) and the samples in sync with them."""

    crops: np.ndarray
    samples: np.ndarray

    def cut(self, offset: int) -> tuple[np.ndarray, np.ndarray]:
        """Return crops and samples of 60 frames, the crops `offset` frames late."""
        sound = self.samples[LEAD * SAMPLES_PER_FRAME : (LEAD + NUM_FRAMES) * SAMPLES_PER_FRAME]
        return self.crops[LEAD - offset : LEAD - offset + NUM_FRAMES], sound


@pytest.fixture(scope="module")
def talk(repository: Path) -> Talk:
    num_frames = NUM_FRAMES + 2 * LEAD
    samples = read_wav(repository / "assets" / "demo1_audio.wav")[: num_frames * SAMPLES_PER_FRAME]
    return Talk(np.stack(list(TalkingClip(1, 0, 0, samples).crops(SIDE))), samples)


@pytest.fixture(scope="module")
def process() -> ProcessClip:
    return SyncStep(DEMO).load(CPU)


@pytest.fixture(scope="module")
def scorer(repository: Path) -> SyncScorer:
    return load_stable_sync_scorer(repository / DEMO.stable_config, repository / DEMO.stable_checkpoint, CPU)


def write_clip(folder: Path, crops: np.ndarray, samples: np.ndarray) -> Clip:
    write_wav(folder / "speech.wav", samples)
    write_training_clip(crops, crops.shape[1], folder / "speech.wav", folder / "clip.mp4")
    return Clip("0" * 16, "0" * 16, "clip", folder / "clip.mp4")


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with VideoReader(path) as frames, AudioSamples.decode(path) as sound:
        return np.stack(list(frames)), sound.read(0, sound.num_samples)


def work_folder(folder: Path) -> Path:
    (folder / "work").mkdir()
    return folder / "work"


def test_a_clip_in_sync_passes_unchanged(tmp_path: Path, talk: Talk, process: ProcessClip):
    work = work_folder(tmp_path)
    result = process(write_clip(tmp_path, *talk.cut(0)), work)
    assert isinstance(result, Done)
    (output,) = result.outputs
    assert output.file is None
    assert output.facts["offset"] == 0
    assert output.facts["scorer"] == "stable_syncnet"
    assert isinstance(output.facts["confidence"], float)
    assert output.facts["confidence"] > 0.4
    assert output.facts.keys() == {"offset", "confidence", "distance", "scorer"}
    assert not list(work.iterdir())


@pytest.mark.parametrize("offset", [-6, 2])
def test_the_offset_is_removed(tmp_path: Path, talk: Talk, process: ProcessClip, offset: int):
    clip = write_clip(tmp_path, *talk.cut(offset))
    result = process(clip, work_folder(tmp_path))
    assert isinstance(result, Done)
    (output,) = result.outputs
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
    assert remaining_offset(scorer, crops, samples, offset) == 0


def test_a_large_offset_is_rejected(tmp_path: Path, talk: Talk, process: ProcessClip):
    result = process(write_clip(tmp_path, *talk.cut(-7)), work_folder(tmp_path))
    assert isinstance(result, Rejected)
    assert result.reason == "offset_too_large"
    assert result.facts["offset"] == -7


def test_other_speech_is_out_of_sync(tmp_path: Path, talk: Talk, process: ProcessClip):
    crops, samples = talk.cut(0)
    result = process(write_clip(tmp_path, crops, samples[::-1].copy()), work_folder(tmp_path))
    assert isinstance(result, Rejected)
    assert result.reason == "out_of_sync"
    assert result.facts["confidence"] < DEMO.min_stable_confidence  # type: ignore[operator]


def test_short_clips_are_rejected(tmp_path: Path, talk: Talk, process: ProcessClip):
    crops, samples = talk.cut(0)
    work = work_folder(tmp_path)
    for num_frames, num_samples in ((49, len(samples)), (NUM_FRAMES, 49 * SAMPLES_PER_FRAME)):
        result = process(write_clip(tmp_path, crops[:num_frames], samples[:num_samples]), work)
        assert isinstance(result, Rejected)
        assert result.reason == "too_short"
    late = talk.cut(5)
    result = process(write_clip(tmp_path, late[0][:52], late[1][: 52 * SAMPLES_PER_FRAME]), work)
    assert isinstance(result, Rejected)
    assert result.reason == "too_short"
    assert "47 frames are left" in result.detail


@pytest.mark.parametrize(
    ("offset", "num_frames", "num_sound_frames", "expected"),
    [
        (0, 100, 100, SyncedPart(0, 0, 100)),
        (3, 100, 100, SyncedPart(3, 0, 97)),
        (-3, 100, 100, SyncedPart(0, 3, 97)),
        (3, 100, 95, SyncedPart(3, 0, 95)),
        (-3, 100, 105, SyncedPart(0, 3, 100)),
        (3, 2, 9, SyncedPart(3, 0, -1)),
    ],
)
def test_which_frames_are_kept(offset: int, num_frames: int, num_sound_frames: int, expected: SyncedPart):
    assert synced_part(offset, num_frames, num_sound_frames * SAMPLES_PER_FRAME + 639) == expected


@dataclass
class ScriptedScorer:
    """Scorer with given results, which records its inputs."""

    scores: list[SyncScore]
    inputs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        self.inputs.append((crops, samples))
        return self.scores[len(self.inputs) - 1]


@pytest.fixture
def tracked(tmp_path: Path, talk: Talk) -> Clip:
    """An aligned clip of 60 frames with its segment of 224 px, in which the face fills a square of 120 px."""
    crops, samples = talk.cut(0)
    clip = write_clip(tmp_path, crops, samples)
    large = np.repeat(np.repeat(crops, 4, 1), 4, 2)[:, :224, :224]
    write_training_clip(large, 224, tmp_path / "speech.wav", tmp_path / "segment.mp4")
    box = np.tile(np.array([50, 40, 170, 160], np.float32), (NUM_FRAMES, 1))
    ones = np.ones(NUM_FRAMES, np.float32)
    write_single_face(tmp_path / "faces.npz", SingleFace(box, np.zeros((NUM_FRAMES, 3, 2), np.float32), ones, ones > 0))
    facts = {"segment": str(tmp_path / "segment.mp4"), "faces": str(tmp_path / "faces.npz")}
    return Clip(clip.key, clip.source, clip.name, clip.path, facts)


def process_by(monkeypatch: pytest.MonkeyPatch, folder: Path, scorer: ScriptedScorer) -> ProcessClip:
    """Load the step with a stand-in for SyncNet-v2."""
    monkeypatch.setattr(syncnet_v2, "load_syncnet_v2", lambda path, device: path)
    monkeypatch.setattr(syncnet_v2, "SyncNetV2Scorer", lambda network: scorer)
    (folder / "syncnet_v2.model").write_bytes(b"weights")
    return SyncStep(SyncConfig(syncnet_v2_checkpoint=str(folder / "syncnet_v2.model"))).load(CPU)


def test_syncnet_v2_gets_the_face_track_of_the_segment(tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch):
    scorer = ScriptedScorer([SyncScore(-4, 3.1, 7.5), SyncScore(0, 3.3, 7.4)])
    result = process_by(monkeypatch, tmp_path, scorer)(tracked, work_folder(tmp_path))
    assert isinstance(result, Done)
    expected = {"offset": -4, "confidence": 3.1, "distance": 7.5, "scorer": "syncnet_v2", "num_frames": 56}
    assert result.outputs[0].facts == expected
    assert [crops.shape for crops, _ in scorer.inputs] == [(60, 224, 224, 3), (56, 224, 224, 3)]
    np.testing.assert_array_equal(scorer.inputs[1][0], scorer.inputs[0][0][:56])
    np.testing.assert_array_equal(scorer.inputs[1][1], scorer.inputs[0][1][4 * SAMPLES_PER_FRAME :])
    with VideoReader(tracked.facts["segment"]) as frames:  # type: ignore[arg-type]
        face = next(iter(frames))[40:208, 26:194]  # 60 px above the centre (110, 100) to 108 below, 84 to either side
    assert np.abs(scorer.inputs[0][0][0][::4, ::4] - face[::3, ::3].astype(float)).mean() < 6


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([SyncScore(0, 2.9, 9.0)], "out_of_sync"),
        ([SyncScore(7, 8.0, 6.0)], "offset_too_large"),
        ([SyncScore(2, 8.0, 6.0), SyncScore(1, 8.0, 6.0)], "out_of_sync"),
    ],
)
def test_results_of_syncnet_v2(
    tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch, scores: list[SyncScore], reason: str
):
    result = process_by(monkeypatch, tmp_path, ScriptedScorer(scores))(tracked, work_folder(tmp_path))
    assert isinstance(result, Rejected)
    assert result.reason == reason
    assert result.facts["offset"] == scores[0].offset


def test_a_face_track_is_required(tmp_path: Path, tracked: Clip, monkeypatch: pytest.MonkeyPatch):
    process = process_by(monkeypatch, tmp_path, ScriptedScorer([]))
    with pytest.raises(InputError, match="run step 5"):
        process(Clip("0", "0", "clip", tracked.path), work_folder(tmp_path))
    half = np.zeros((NUM_FRAMES, 4), np.float32)
    half[::2] = [0, 0, 120, 120]
    half[1::2] = [100, 100, 220, 220]
    nothing = np.zeros((NUM_FRAMES, 3, 2), np.float32)
    write_single_face(tmp_path / "faces.npz", SingleFace(half, nothing, half[:, 0], half[:, 0] > 0))
    result = process(tracked, tmp_path / "work")
    assert isinstance(result, Rejected)
    assert result.reason == "too_short"


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


def test_a_syncnet_on_latents_cannot_score_pixels(tmp_path: Path):
    path = tmp_path / "latent.yaml"
    step = SyncStep(SyncConfig("stable_syncnet", stable_config=str(path)))
    path.write_text("data: {latent_space: true, lower_half: false}\nvae: anything\n")
    with pytest.raises(ConfigError, match="on latents"):
        step.load(CPU)
    path.write_text("data: {resolution: 0}\n")
    with pytest.raises(ConfigError, match="resolution"):
        step.load(CPU)
