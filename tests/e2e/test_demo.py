"""The bundled demo: what a newcomer sees after one line."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.demo_mouth import correlations, video_mouth
from latentsync.media.probe import probe_audio, probe_video
from latentsync.pipelines.lipsync_job import LipsyncOutputs
from tests.repository_copy import environment_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, fresh_copy: Path) -> Path:
    """The demo's result, made in an empty folder by the shell script of a fresh clone without arguments."""
    folder = tmp_path_factory.mktemp("demo")
    environment = environment_of(fresh_copy, tmp_path_factory.mktemp("home"))
    command = [fresh_copy / "inference.sh"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert "weights: demo " in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["video_out.mp4", "video_out_sheet.png"]
    LipsyncOutputs.of(folder / "video_out.mp4", compare=False, is_named=False).check([])  # the same line replaces it
    return folder / "video_out.mp4"


def test_sound_and_length_are_those_of_the_speech(demo: Path, repository: Path):
    speech = probe_audio(repository / "assets" / "demo1_audio.wav")
    sound = probe_audio(demo)
    assert (sound.sample_rate, sound.channels) == (speech.sample_rate, speech.channels)
    assert sound.duration_s == pytest.approx(speech.duration_s, abs=0.06)
    assert probe_video(demo).duration_s == pytest.approx(speech.duration_s, abs=0.041)


def test_the_mouth_follows_the_new_speech_and_not_the_old(demo: Path, repository: Path):
    assets = repository / "assets"
    mouth = video_mouth(demo)
    opening, _ = correlations(mouth, assets / "demo1_audio.wav")
    control, _ = correlations(mouth, assets / "demo1_video.mp4")
    assert opening > 0.85
    assert abs(control) < 0.4
