"""Audio of any file as 16 kHz mono in a temporary file."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.media import audio_samples
from latentsync.media.audio_samples import AudioSamples, check_finite_samples
from latentsync.media.probe import probe_audio, probe_video
from tests.unit.media.conftest import CLICK_S, MakeClip, click_time_s, ffmpeg


def test_whole_file_and_slices(click_wav: Path, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with AudioSamples.decode(click_wav, folder) as samples:
        assert samples.num_samples == 32000
        assert samples.duration_s == 2.0
        whole = samples.read(0, 32000)
        assert whole.dtype == np.float32
        assert 0.3 < np.abs(whole).max() <= 1
        assert click_time_s(whole) == pytest.approx(CLICK_S + 0.0025, abs=2e-4)
        np.testing.assert_array_equal(samples.read(7000, 9000), whole[7000:9000])
        np.testing.assert_array_equal(samples.read(-5, 3), [*[0] * 5, *whole[:3]])
        np.testing.assert_array_equal(samples.read(31998, 32003), [*whole[-2:], 0, 0, 0])
        assert samples.read(40000, 40010).tolist() == [0] * 10
        assert list(folder.iterdir()) == []


def test_equals_whispers_own_loading(click_wav: Path) -> None:
    whisper_audio = pytest.importorskip("whisper.audio")
    with AudioSamples.decode(click_wav) as samples:
        np.testing.assert_allclose(samples.read(0, 32000), whisper_audio.load_audio(str(click_wav)), atol=1e-6)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp3", "a.flac", "a.ogg", "a.opus"])
def test_compressed_audio_keeps_its_timing(click_wav: Path, tmp_path: Path, name: str) -> None:
    ffmpeg("-i", str(click_wav), "-b:a", "192k", str(tmp_path / name))
    with AudioSamples.decode(tmp_path / name) as samples:
        whole = samples.read(0, samples.num_samples)
        assert click_time_s(whole) == pytest.approx(CLICK_S + 0.0025, abs=3e-3)
        assert samples.duration_s == pytest.approx(2.0, abs=0.06)


def test_late_audio_of_a_video_begins_with_silence(make_clip: MakeClip, click_wav: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    ffmpeg("-i", str(make_clip("a.mp4")), "-itsoffset", "0.4", "-i", str(click_wav), "-c:a", "pcm_s16le", str(path))
    with AudioSamples.decode(path) as samples:
        assert click_time_s(samples.read(0, samples.num_samples)) == pytest.approx(CLICK_S + 0.4025, abs=2e-3)


def test_audio_can_begin_with_the_first_frame_of_a_late_video(
    make_clip: MakeClip, click_wav: Path, tmp_path: Path
) -> None:
    path = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", "0.4", "-i", str(make_clip("a.mp4")), "-i", str(click_wav), "-c:a", "pcm_s16le", str(path))
    late_s = probe_video(path).late_s
    assert late_s == pytest.approx(0.4, abs=0.002)
    with AudioSamples.decode(path) as whole, AudioSamples.decode(path, start_s=late_s) as samples:
        first = round(late_s * 16000)
        assert samples.num_samples == whole.num_samples - first
        np.testing.assert_array_equal(samples.read(-5, 9000)[5:], whole.read(first, first + 9000))
        assert not samples.read(-5, 0).any()


def test_unusable_audio_is_rejected(make_clip: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no audio stream"):
        AudioSamples.decode(make_clip("a.mp4"))
    with pytest.raises(InputError, match="does not exist"):
        AudioSamples.decode(tmp_path / "none.wav")
    with pytest.raises(InputError, match="cannot be written"):
        AudioSamples.decode(_one_second(tmp_path), tmp_path / "no folder")


def test_header_without_audio_is_rejected(tmp_path: Path) -> None:
    path = _one_second(tmp_path)
    path.write_bytes(path.read_bytes()[:78])
    with pytest.raises(InputError):
        AudioSamples.decode(path)


def _one_second(folder: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", str(folder / "one.wav"))
    return folder / "one.wav"


def test_real_speech(real_clips: Path) -> None:
    with AudioSamples.decode(real_clips / "speech_english_16k.wav") as samples:
        assert samples.duration_s == pytest.approx(9.6, abs=0.01)


def test_non_finite_audio_is_rejected_and_finite_audio_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "float.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "pcm_f32le", str(path))
    check_finite_samples(probe_audio(path))
    with monkeypatch.context() as without_programs:
        without_programs.setattr(audio_samples, "tool_command", None)
        check_finite_samples(probe_audio(path))
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds NaN or infinity at"):
        check_finite_samples(probe_audio(path))
