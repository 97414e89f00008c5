"""Clips that training cannot use are skipped, counted and listed by reason."""

import json
import logging
import os
from pathlib import Path

import pytest

from latentsync.data import clip_check
from latentsync.data.clip_check import check_clips
from latentsync.errors import InputError, ToolError
from latentsync.media.audio_samples import AudioSamples
from latentsync.storage.content_cache import content_key
from tests.unit.data.clips import ffmpeg, make_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one clip of every kind."""
    folder = tmp_path_factory.mktemp("clips")
    good = make_clip(folder / "good.mp4")
    (folder / "copy.mp4").write_bytes(good.read_bytes())
    make_clip(folder / "short.mp4", 20)
    make_clip(folder / "one_frame.mp4", 1)
    make_clip(folder / "soundless.mp4", sound_s=0)
    make_clip(folder / "brief_sound.mp4", sound_s=0.5)
    make_clip(folder / "other_rate.mp4", fps="30")
    ffmpeg("-i", str(good), "-vf", "pad=96:64", str(folder / "wide.mp4"))
    ffmpeg("-i", str(good), "-vn", "-c:a", "copy", str(folder / "sound_only.mp4"))
    (folder / "text.mp4").write_text("this is not a video")
    (folder / "empty.mp4").touch()
    (folder / "cut_off.mp4").write_bytes(good.read_bytes()[:5000])
    content = bytearray(good.read_bytes())
    middle = content.index(b"mdat") + 3000
    content[middle : middle + 2000] = bytes(2000)
    (folder / "holes.mp4").write_bytes(content)
    return folder


REASONS = {
    "short": "is shorter than 32 frames",
    "one_frame": "is shorter than 32 frames",
    "soundless": "has no audio",
    "brief_sound": "has audio for fewer than 32 frames",
    "other_rate": "has 30 frames per second, not 25",
    "wide": "is not a square face crop",
    "sound_only": "cannot be decoded",
    "text": "cannot be decoded",
    "empty": "is empty",
    "cut_off": "cannot be decoded",
    "holes": "is damaged",
    "gone": "cannot be read (No such file or directory)",
}


def test_every_kind_of_bad_clip_is_skipped_with_its_reason(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [*sorted(folder.glob("*.mp4")), folder / "gone.mp4"]
    with caplog.at_level(logging.WARNING, "latentsync"):
        check = check_clips(paths, 32, 25, cache=tmp_path)
    assert {clip.path.stem: clip.reason for clip in check.skipped} == REASONS
    assert [clip.path.stem for clip in check.usable] == ["copy", "good"]
    assert {clip.num_frames for clip in check.usable} == {60}
    assert {clip.content_key for clip in check.usable} == {content_key(folder / "good.mp4")}
    assert f"{len(REASONS)} of {len(paths)} clips are skipped" in caplog.text
    assert "3x cannot be decoded" in caplog.text
    check.write_report(tmp_path / "reports" / "clips.json")
    report = json.loads((tmp_path / "reports" / "clips.json").read_text())
    assert (report["num_usable"], report["num_skipped"], report["num_usable_frames"]) == (2, len(REASONS), 120)
    assert report["reasons"]["cannot be decoded"] == 3
    assert {"path": str(folder / "text.mp4"), "reason": "cannot be decoded"} in report["skipped"]


def test_results_are_cached_by_content(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [folder / "good.mp4", folder / "soundless.mp4", folder / "text.mp4"]
    first = check_clips(paths, 32, 25, cache=tmp_path)

    def fail(path: Path) -> clip_check.ClipFacts:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(clip_check, "_decode_facts", fail)
    assert check_clips(paths, 32, 25, cache=tmp_path) == first
    assert [clip.path.stem for clip in check_clips(paths, 32, 25, False, tmp_path).usable] == ["good", "soundless"]
    with pytest.raises(InputError, match="is shorter than 61 frames"):
        check_clips([folder / "copy.mp4"], 61, 25, cache=tmp_path)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_the_result_does_not_depend_on_the_first_clip(folder: Path, start: int) -> None:
    paths = [folder / "good.mp4", folder / "text.mp4", folder / "copy.mp4"]
    assert check_clips(paths, 32, 25, start=start) == check_clips(paths, 32, 25)


def test_processes_may_start_at_different_clips(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[str] = []
    monkeypatch.setattr(clip_check, "_NUM_THREADS", 1)
    monkeypatch.setattr(clip_check, "_decode_facts", lambda path: first.append(path.stem) or clip_check.ClipFacts())
    with pytest.raises(InputError):
        check_clips([folder / "good.mp4", folder / "soundless.mp4", folder / "short.mp4"], 32, 25, start=1)
    assert first == ["soundless", "short", "good"]


def test_an_ffmpeg_that_the_system_killed_is_not_a_fault_of_the_clip(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "bin" / "ffmpeg"
    killed.parent.mkdir()
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{killed.parent}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(ToolError, match="SIGKILL"):
            check_clips([folder / "good.mp4"], 32, 25, cache=tmp_path)
    assert len(check_clips([folder / "good.mp4"], 32, 25, cache=tmp_path).usable) == 1


def test_decord_does_not_open_a_playlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> tuple[int, int, int, float]:
        raise AssertionError(f"{path} was opened, and with it what it names")

    clip = tmp_path / "clip.mp4"
    clip.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost/a.ts\n#EXT-X-ENDLIST\n")
    monkeypatch.setattr(clip_check, "read_video_facts", fail)
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be decoded"):
        check_clips([clip], 32, 25)


def test_only_frames_with_audio_count(folder: Path, tmp_path: Path) -> None:
    check = check_clips([folder / "brief_sound.mp4"], 10, 25, cache=tmp_path)
    assert check.usable[0].num_frames == 12
    assert check_clips([folder / "brief_sound.mp4"], 10, 25, with_audio=False).usable[0].num_frames == 60


def test_the_audio_is_as_long_as_the_decoder_makes_it(folder: Path) -> None:
    facts = clip_check.read_clip_facts(folder / "good.mp4", "x", None)
    with AudioSamples.decode(folder / "good.mp4") as samples:
        assert facts.num_samples == samples.num_samples == 38400


def test_nothing_usable_is_one_line_with_the_most_common_reason(folder: Path) -> None:
    bad = [folder / f"{name}.mp4" for name in ("soundless", "short", "one_frame")]
    with pytest.raises(InputError) as caught:
        check_clips(bad, 32, 25)
    message = str(caught.value)
    assert "none of the 3 clips" in message
    assert str(folder) in message
    assert "2 of them, such as short.mp4: is shorter than 32 frames" in message
    assert "\n" not in message
    with pytest.raises(InputError, match="no clip to train on"):
        check_clips([], 32, 25)
