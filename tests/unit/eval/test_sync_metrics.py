"""Tracks and scores of SyncNet-v2, scores of StableSyncNet, and the command that scores videos."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import eval.eval_sync_conf as command
from demo.synthetic.clip import TalkingClip
from eval.face_clips import SAMPLES_PER_FRAME
from eval.metrics.metric import Metric, Quantity
from eval.metrics.stable_sync import METRICS as STABLE
from eval.metrics.sync import METRIC as SYNC
from eval.metrics.sync import find_tracks, track_crops, track_scores
from eval.pairs import Pair
from latentsync.errors import InputError, NotMeasured
from latentsync.judges.face_tracks import FaceTrackConfig, crop_track
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScore
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT
from tests.unit.eval.made_clips import MadeClips, clip_of, geometry_of, pair_of, textured

CPU = torch.device("cpu")
SMALL_FACES = FaceTrackConfig(min_side=50)


@dataclass
class ToldScorer:
    """Records its inputs."""

    seen: list

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        if len(samples) == 0:
            raise InputError("too short")
        self.seen.append((crops.shape, float(samples[0]), len(samples)))
        return SyncScore(len(self.seen), float(len(crops)), 1.0)


def test_tracks_end_at_cuts_and_unsure_faces_do_not_count():
    geometry = geometry_of(200, missing=(30, 31), cuts=(110,))
    assert [(track.first_frame, len(track)) for track in find_tracks(geometry, SMALL_FACES)] == [(0, 110), (110, 90)]
    geometry.rows[:, 5] = np.where(geometry.rows[:, 0] < 110, 0.89, 0.9)
    assert [(track.first_frame, len(track)) for track in find_tracks(geometry, SMALL_FACES)] == [(110, 90)]
    assert find_tracks(geometry_of(49), SMALL_FACES) == []
    assert find_tracks(geometry_of(49)) == []


def test_one_pass_gives_the_crops_of_every_track(tmp_path):
    frames = textured(115, 128)
    tracks = find_tracks(geometry_of(115, cuts=(60,)), SMALL_FACES)
    made = track_crops(iter(frames), tracks, tmp_path)
    assert [one.first_frame for one in made] == [0, 60]
    for one, track in zip(made, tracks, strict=True):
        np.testing.assert_array_equal(one.crops, np.stack(list(crop_track(iter(frames), track))))
    cut_short = track_crops(iter(frames[:70]), tracks, tmp_path)
    assert [len(one.crops) for one in cut_short] == [60, 10]


def test_every_track_is_scored_with_its_own_audio(monkeypatch):
    monkeypatch.setattr("eval.metrics.sync.find_tracks", lambda geometry: find_tracks(geometry, SMALL_FACES))
    frames = textured(115, 128)
    samples = np.repeat(np.arange(80), SAMPLES_PER_FRAME).astype(np.float32)  # the speech ends in the second track
    clips = MadeClips(
        frames={"result": frames}, geometry={"result": geometry_of(115, cuts=(60,))}, samples={"audio": samples}
    )
    scorer = ToldScorer([])
    scores = track_scores(Path("result"), Path("audio"), clips, scorer)
    shape = (224, 224, 3)
    assert scorer.seen == [((60, *shape), 0.0, 60 * 640), ((55, *shape), 60.0, 20 * 640)]
    assert [length for length, _ in scores] == [60, 55]
    monkeypatch.setattr("eval.metrics.sync.load_syncnet_v2", lambda path, device: None)
    monkeypatch.setattr("eval.metrics.sync.SyncNetV2Scorer", lambda network: ToldScorer([]))
    measure = replace(SYNC, files=(Path("told"),)).load(CPU)
    assert measure(pair_of(), clips) == {"lse_c": 57.5, "lse_d": 1.0, "lse_offset": 1.0}
    short = MadeClips(geometry={"result": geometry_of(40)})
    with pytest.raises(NotMeasured, match="50 frames"):
        measure(pair_of(), short)


@pytest.fixture(scope="module")
def talking(espeak: str) -> TalkingClip:
    return TalkingClip(seed=77, index=0, duration_s=2.6)


@pytest.fixture(scope="module")
def talking_crops(talking) -> np.ndarray:
    return np.stack(list(talking.crops(64)))


def test_the_demo_syncnet_measures_a_shift(talking, talking_crops):
    shown = np.ones(len(talking_crops), bool)
    shown[:3] = False  # the stretch with the face begins at frame 3, and so must its sound
    late = np.concatenate([np.zeros(5 * SAMPLES_PER_FRAME, np.float32), talking.samples])
    clips = MadeClips({"result": clip_of(talking_crops, shown)}, samples={"own": talking.samples, "late": late})
    measure = STABLE[0].load(CPU)
    own, shifted = (measure(Pair("one", Path("result"), Path("source"), Path(name)), clips) for name in ("own", "late"))
    assert own["stable_sync_offset"] == 0
    assert shifted["stable_sync_offset"] == -5  # the picture comes five frames before its sound
    assert own["stable_sync_similarity"] > shifted["stable_sync_similarity"] + 0.3
    short = MadeClips({"result": clip_of(talking_crops[:10])}, samples={"audio": talking.samples})
    with pytest.raises(NotMeasured, match="longer clip"):
        measure(pair_of(), short)


def test_a_syncnet_on_latents_is_refused():
    config = REPOSITORY_ROOT / "configs" / "syncnet" / "syncnet_16_latent.yaml"
    with pytest.raises(InputError, match="on latents"):
        load_stable_sync_scorer(config, CHECKPOINTS / "demo" / "stable_syncnet.pt")


class ToldMetric(Metric):
    """Raises NotMeasured for videos called bad."""

    name = "sync"
    quantities = (Quantity("lse_c", "", True, "told"),)

    def load(self, device):
        def measure(pair, clips):
            if pair.name == "bad":
                raise NotMeasured("no face")
            return {"lse_c": float(len(pair.name))}

        return measure


def test_the_command_counts_videos_that_it_cannot_score(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(command.scorers(), "sync", ToldMetric())
    for name in ("bad", "four", "sixsix"):
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    out = tmp_path / "out" / "sync.json"
    assert command.main(["--videos", str(tmp_path), str(tmp_path / "four.mp4"), "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["num_judged"], report["num_not_judged"], report["means"]) == (2, 1, {"lse_c": 5.0})
    assert "not scored: no face" in capsys.readouterr().out
    assert command.main(["--videos", str(tmp_path / "bad.mp4")]) == 2


def test_the_command_offers_the_scorers_that_exist():
    assert tuple(command.scorers()) == command.SCORERS


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(command.scorers(), "sync", replace(SYNC, files=(tmp_path / "no.model",)))
    video = tmp_path / "one.mp4"
    video.write_bytes(b"x")
    assert command.main(["--videos", str(video)]) == 2
    assert command.main(["--videos", str(tmp_path / "nowhere")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "not measured: file" in errors[0]
    assert "does not exist" in errors[1]
