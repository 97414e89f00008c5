"""Who speaks in a video file: two patches whose brightness follows the loudness of the sound in turns."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from demo.synthetic.speech import write_wav
from latentsync.errors import CheckpointError
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.identity import identified
from latentsync.face.tracker import FaceTracker
from latentsync.judges.stable_sync_scorer import StableSyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2
from latentsync.judges.syncnet_v2_windows import SyncNetV2Windows
from latentsync.media.probe import probe_video
from latentsync.media.writer import VideoWriter
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput
from latentsync.pipelines.speaker_pass import (
    Speakers,
    check_speaker_network,
    follow_speakers,
    load_speaker_network,
)
from latentsync.weights import CHECKPOINTS
from tests.golden_values import fill_deterministic
from tests.unit.face.faces import detection
from tests.unit.judges.test_sync_scorers import BrightnessStableSyncNet, BrightnessSyncNetV2

WIDTH, HEIGHT, NUM_FRAMES = 320, 160, 200
LEFT, RIGHT = 80, 240
TURN = 100
"""First frame of the second person's turn."""


def network() -> StableSyncScorer:
    return StableSyncScorer(cast(StableSyncNet, BrightnessStableSyncNet()), SyncNetInput(32))


def make_video(folder: Path, fps: int = 25, speaks: bool = True, sound_s: float | None = None) -> Path:
    """Write the video with its sound; without speech both patches are still."""
    rng = np.random.default_rng(3)
    loudness = rng.random(NUM_FRAMES * 25 // fps + 40)
    samples = rng.standard_normal(len(loudness) * 640) * 10 ** (2 * np.repeat(loudness, 640) - 3)
    num_samples = round((NUM_FRAMES / fps if sound_s is None else sound_s) * 16000)
    write_wav(folder / "sound.wav", samples[:num_samples].astype(np.float32))
    path = folder / f"v{fps}.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(fps), crf=12, audio_path=folder / "sound.wav") as writer:
        for i in range(NUM_FRAMES):
            level = 40 + 170 * loudness[i * 25 // fps] if speaks else 100
            frame = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
            if i < TURN:
                frame[:, : WIDTH // 2] = level
            else:
                frame[:, WIDTH // 2 :] = level
            writer.write(frame)
    return path


def faces(num_frames: int = NUM_FRAMES, cut: int | None = None) -> FaceTracks:
    tracker = FaceTracker()
    for i in range(num_frames):
        tracker.add([detection(LEFT, 80, 60), detection(RIGHT, 80, 70)], i == cut)
    return FaceTracks(identified(tracker.tracks(), None), num_frames, (WIDTH, HEIGHT))


def syncnet_v2() -> SyncNetV2Windows:
    return SyncNetV2Windows(cast(SyncNetV2, BrightnessSyncNetV2()))


@pytest.mark.parametrize(
    ("fps", "network", "name"),
    [(25, network, "a StableSyncNet"), (50, network, "a StableSyncNet"), (25, syncnet_v2, "SyncNet-v2")],
)
def test_turns_of_the_source_are_followed(tmp_path, fps, network, name):
    video = probe_video(make_video(tmp_path, fps))
    done = []
    speakers = follow_speakers(video, Fraction(fps), faces(), network, progress=lambda *counts: done.append(counts))
    assert speakers.fallback is None
    assert [turn.person for turn in speakers.turns] == [0, 1]
    assert [speakers.turns[0].start, speakers.turns[-1].stop] == [0, NUM_FRAMES]
    assert speakers.turns[1].start == pytest.approx(TURN, abs=0.3 * fps)
    assert [track.centre[0] for track in speakers.tracks] == [LEFT, RIGHT]
    assert sum(len(track) for track in speakers.tracks) == NUM_FRAMES
    assert done[-1] == (NUM_FRAMES, NUM_FRAMES)
    assert not speakers.covered(faces()).any()
    notes = speakers.notes(NUM_FRAMES)
    assert list(notes) == [f"person 1 speaks, by {name}", f"person 2 speaks, by {name}"]
    assert np.logical_xor(*notes.values()).all()


def test_a_video_without_sound_follows_the_largest_face(tmp_path):
    path = tmp_path / "mute.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(25)) as writer:
        for _ in range(30):
            writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    def not_loaded():
        raise AssertionError("the network is not needed")

    speakers = follow_speakers(probe_video(path), Fraction(25), faces(30), not_loaded)
    assert speakers.fallback == "who speaks is unknown (the source has no sound): the largest face is followed"
    assert [track.centre[0] for track in speakers.tracks] == [RIGHT]
    assert speakers.notes(30)[speakers.fallback].all()


@pytest.mark.parametrize(
    ("speaks", "sound_s", "reason"),
    [(False, None, "no face moves its lips"), (True, 1.0, "lasts 1.0 s, its video 8.0")],
)
def test_sound_that_goes_with_no_face_follows_the_largest_one(tmp_path, speaks, sound_s, reason):
    video = probe_video(make_video(tmp_path, speaks=speaks, sound_s=sound_s))
    speakers = follow_speakers(video, Fraction(25), faces(), network)
    assert speakers.fallback is not None
    assert reason in speakers.fallback
    assert [track.centre[0] for track in speakers.tracks] == [RIGHT]


def test_the_network_is_the_first_one_whose_weights_are_here(tmp_path):
    (tmp_path / "demo").symlink_to(CHECKPOINTS / "demo")
    assert load_speaker_network(checkpoints=tmp_path).name == "the demo SyncNet"
    (tmp_path / "auxiliary").mkdir()
    weights = SyncNetV2()
    fill_deterministic(weights)
    torch.save(weights.state_dict(), tmp_path / "auxiliary/syncnet_v2.model")
    check_speaker_network(tmp_path)
    assert load_speaker_network(checkpoints=tmp_path).name == "SyncNet-v2"
    (tmp_path / "stable_syncnet.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"stable_syncnet\.pt"):
        load_speaker_network(checkpoints=tmp_path)


def test_the_published_network_is_preferred_and_a_missing_one_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"demo/stable_syncnet\.pt"):
        check_speaker_network(tmp_path)
    (tmp_path / "demo").symlink_to(CHECKPOINTS / "demo")
    assert load_speaker_network(checkpoints=tmp_path).name == "the demo SyncNet"
    published = tmp_path / "stable_syncnet.pt"
    published.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=str(published)):
        check_speaker_network(tmp_path)


def test_a_speaker_is_covered_by_somebody_nearer_and_never_by_the_same_person():
    tracker = FaceTracker()
    for i in range(60):
        near = [detection(290 - 10 * max(i - 40, 0), 80, 90)]
        tracker.add([detection(RIGHT - 140, 80, 60), *near], False)
    found = FaceTracks(identified(tracker.tracks(), None), 60, (WIDTH, HEIGHT))
    behind = min(found.tracks, key=lambda track: track.area)
    covered = Speakers([behind.part(0, 60)], []).covered(found)
    assert covered.any()
    assert not covered[:10].any()
    alone = FaceTracks([behind], 60, (WIDTH, HEIGHT))
    assert not Speakers([behind.part(0, 60)], []).covered(alone).any()
