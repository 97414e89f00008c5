"""Properties of files, and files that are rejected."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.errors import InputError, ToolError
from latentsync.media import probe
from latentsync.media.probe import probe_ahead, probe_audio, probe_video
from tests.unit.media.conftest import HEIGHT, WIDTH, MakeClip, ffmpeg


def test_plain_clip(make_clip: MakeClip) -> None:
    info = probe_video(make_clip("a.mp4", num_frames=45, fps="30000/1001"))
    assert (info.width, info.height, info.fps, info.has_audio) == (WIDTH, HEIGHT, Fraction(30000, 1001), False)
    assert info.duration_s == pytest.approx(1.5015, abs=1e-3)
    assert info.num_frames_estimate == 45
    assert info.num_frames_at(Fraction(25)) == 38


def test_phone_rotation_turns_the_size(make_clip: MakeClip, tmp_path: Path) -> None:
    ffmpeg("-i", str(make_clip("a.mp4")), "-c", "copy", "-metadata:s:v:0", "rotate=90", str(tmp_path / "turned.mp4"))
    info = probe_video(tmp_path / "turned.mp4")
    if (info.width, info.height) == (WIDTH, HEIGHT):
        pytest.skip("this ffmpeg no longer writes rotation from metadata")
    assert (info.width, info.height) == (HEIGHT, WIDTH)


def test_wide_pixels_widen_the_size(make_clip: MakeClip) -> None:
    info = probe_video(make_clip("a.mp4", options=["-vf", "setsar=4/3"]))
    assert (info.width, info.height) == (round(WIDTH * 4 / 3), HEIGHT)


def test_sound(click_wav: Path) -> None:
    info = probe_audio(click_wav)
    assert (info.sample_rate, info.channels, info.codec, info.duration_s) == (44100, 2, "pcm_s16le", 2.0)


def test_probing_ahead(make_clip: MakeClip, click_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_clip("a.mp4", num_frames=45)
    for thread in [*probe_ahead(video, click_wav), *probe_ahead(tmp_path / "missing.mp4", video)]:
        thread.join()
    with pytest.raises(InputError, match=r"missing\.mp4 does not exist"):
        probe_video(tmp_path / "missing.mp4")
    monkeypatch.setattr(probe, "run_tool", lambda *arguments: pytest.fail("probed again"))
    assert (probe_video(video).num_frames_estimate, probe_audio(click_wav).duration_s) == (45, 2.0)


def test_audio_file_with_a_cover_image_is_not_a_video(click_wav: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    picture = ["-f", "lavfi", "-i", "color=red:s=32x32:r=1:d=1"]
    cover = ["-frames:v", "1", "-c:v", "png", "-disposition:v", "attached_pic"]
    ffmpeg("-i", str(click_wav), *picture, "-map", "0:a", "-map", "1:v", *cover, str(path))
    with pytest.raises(InputError, match="no video stream"):
        probe_video(path)
    assert probe_audio(path).codec == "mp3"


def _missing(path: Path) -> None:
    assert not path.exists()


def _folder(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("This is a note, not a film.\n" * 20)


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


BAD_FILES = pytest.mark.parametrize("spoil", [_missing, _folder, _empty, _text, _noise])


@BAD_FILES
@pytest.mark.parametrize("probe", [probe_video, probe_audio])
@pytest.mark.parametrize("name", ["clip.mp4", "speech.wav"])
def test_bad_file_is_rejected_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], probe: Callable, name: str
) -> None:
    path = tmp_path / name
    spoil(path)
    with pytest.raises(InputError) as caught:
        probe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "give" in str(caught.value)


def test_video_without_audio_stream(make_clip: MakeClip) -> None:
    with pytest.raises(InputError, match="no audio stream"):
        probe_audio(make_clip("a.mp4"))


def test_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32", "-frames:v", "0", "-c:v", "libx264", str(path))
    with pytest.raises(InputError, match=r"no video frame|not a video file"):
        probe_video(path)


def test_truncated_without_index(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a video file"):
        probe_video(path)


def test_missing_tools_are_reported_as_such(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="was not found"):
        probe_video(path)


@pytest.mark.parametrize(
    "name", ["-dash.mp4", 'it\'s "quoted" & $HOME.mp4', "Zoë 人.mp4", "a:b %03d.mp4", "http:x.mp4"]
)
def test_any_name(make_clip: MakeClip, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip("plain.mp4", num_frames=3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe_video(name).width == WIDTH
    assert probe_video(tmp_path / name).num_frames_estimate == 3


def test_real_clips(real_clips: Path) -> None:
    info = probe_video(real_clips / "woman_outdoor_25fps.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (1080, 1920, 25, True)
