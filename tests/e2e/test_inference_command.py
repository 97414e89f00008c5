"""``./inference.sh`` with unusual paths, bad input, and interruptions."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from latentsync.media.probe import probe_audio, probe_video
from scripts.inference import main
from tests.demo_weights import DEMO_RUN

QUICK = ["--inference_steps", "2", *DEMO_RUN]


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def ffmpeg_with(data: bytes, *arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], input=data, check=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Return a folder with a short talking head, short speech and all kinds of bad files."""
    folder = tmp_path_factory.mktemp("clips")
    assets = repository / "assets"
    ffmpeg("-i", assets / "demo1_video.mp4", "-t", "0.8", folder / "face.mp4")
    ffmpeg("-i", assets / "demo1_audio.wav", "-t", "0.6", folder / "speech.wav")
    ffmpeg("-i", folder / "speech.wav", "-t", "0.01", folder / "blink.wav")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=0.4", folder / "faceless.mp4")
    ffmpeg("-i", folder / "speech.wav", folder / "sound_only.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a film\n" * 50)
    (folder / "text.wav").write_text("nor is this a sound\n" * 50)
    (folder / "a_folder.mp4").mkdir()
    (folder / "garbage.pt").write_bytes(b"PK\x03\x04 torn off in the middle")
    (folder / "unknown.yaml").write_text("model: {in_chanels: 13}\n")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "playlist.mp4").write_text(f"ffconcat version 1.0\nfile {folder / 'face.mp4'}\n")
    (folder / "mine_sheet.png").write_text("the user's")
    for name in ("own_compare.mp4", "theirs_compare.mp4"):
        shutil.copy(folder / "face.mp4", folder / name)
    samples = np.zeros(9600, dtype="<f4")
    samples[4800] = np.nan
    ffmpeg_with(samples.tobytes(), "-f", "f32le", "-ar", "16000", "-i", "-", "-c:a", "pcm_f32le", folder / "nan.wav")
    return folder


def inference(repository: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [repository / "inference.sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


@pytest.mark.slow
def test_paths_with_spaces_quotes_unicode_and_a_leading_dash_work(repository: Path, clips: Path, tmp_path: Path):
    folder = tmp_path / 'my "videos" it\'s ünï'
    folder.mkdir()
    video = shutil.copy(clips / "face.mp4", folder / "-face 1.mp4")
    speech = shutil.copy(clips / "speech.wav", folder / "söund's.wav")
    done = inference(
        repository,
        "--video_path",
        video,
        "--audio_path",
        speech,
        "--video_out_path",
        folder / "a new" / "-out 1.mp4",
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    assert "15 frames, 15 synced" in done.stdout
    assert "weights: " in done.stdout
    assert probe_video(folder / "a new" / "-out 1.mp4").duration_s == pytest.approx(0.6, abs=0.04)
    assert probe_audio(folder / "a new" / "-out 1.mp4").sample_rate == probe_audio(speech).sample_rate
    assert sorted(p.name for p in (folder / "a new").iterdir()) == ["-out 1.mp4", "-out 1_sheet.png"]


def test_a_bare_name_with_a_leading_dash_works_in_the_current_folder(clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clips / "face.mp4", "-face.mp4")
    speech = f"--audio_path={clips / 'speech.wav'}"
    assert main(["--video_path=-face.mp4", speech, "--video_out_path=-out.mp4", *QUICK]) == 0
    assert Path("-out.mp4").is_file()


BAD_FILES = {
    "missing video": ({"video": "nowhere.mp4"}, "nowhere.mp4"),
    "missing audio": ({"audio": "nowhere.wav"}, "nowhere.wav"),
    "empty file": ({"video": "empty.mp4"}, "empty.mp4"),
    "text named mp4": ({"video": "text.mp4"}, "text.mp4"),
    "text named wav": ({"audio": "text.wav"}, "text.wav"),
    "a folder": ({"video": "a_folder.mp4"}, "a_folder.mp4"),
    "no picture": ({"video": "sound_only.mp4"}, "sound_only.mp4"),
    "no sound": ({"audio": "faceless.mp4"}, "faceless.mp4"),
    "speech under a frame": ({"audio": "blink.wav"}, "blink.wav"),
    "no face": ({"video": "faceless.mp4"}, "faceless.mp4"),
    "output is the video": ({"out": "face.mp4"}, "face.mp4"),
    "output is the speech": ({"out": "speech.wav"}, "speech.wav"),
    "output is a folder": ({"out": "a_folder.mp4"}, "a_folder.mp4"),
    "output inside a file": ({"out": "face.mp4/out.mp4"}, "out.mp4"),
    "output of unknown format": ({"out": "out.txt"}, "out.txt"),
    "output without a name": ({"out": ""}, "is a folder"),
    "output is the root": ({"out": "/"}, "is a folder"),
    "output of a long name": ({"out": "n" * 300 + ".mp4"}, "more than 255 bytes"),
    "sheet of a long name": ({"out": "n" * 246 + ".mp4"}, "more than 255 bytes"),
    "output is a pipe": ({"out": "pipe.mp4"}, "pipe.mp4"),
    "video is a pipe": ({"video": "pipe.mp4"}, "pipe.mp4"),
    "speech is a pipe": ({"audio": "pipe.mp4"}, "pipe.mp4"),
    "video is a playlist": ({"video": "playlist.mp4"}, "playlist.mp4"),
    "speech is not a number": ({"audio": "nan.wav"}, "nan.wav"),
    "sheet of the user": ({"out": "mine.mp4"}, "mine_sheet.png"),
    "comparison is the video": ({"video": "own_compare.mp4", "out": "own.mp4"}, "own_compare.mp4"),
    "comparison of the user": ({"out": "theirs.mp4"}, "theirs_compare.mp4"),
    "name with a zero byte": ({"video": "a\0b.mp4"}, "not a file name"),
}


FOUND_DURING_THE_WORK = {"no face"}
"""Errors that a dry run does not detect."""


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_end_in_one_line_that_names_them(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
):
    given, named = BAD_FILES[case]
    paths = {"video": "face.mp4", "audio": "speech.wav", "out": str(tmp_path / "out.mp4")} | given
    before = snapshot(clips)
    arguments = ["--video_path", clips / paths["video"], "--audio_path", clips / paths["audio"]]
    arguments += ["--video_out_path", clips / paths["out"], "--compare", *QUICK]
    code = main(list(map(str, arguments)))
    said = capsys.readouterr().err
    assert_one_line(said, named)
    assert code == 2
    if case not in FOUND_DURING_THE_WORK:
        assert (main([*map(str, arguments), "--dry_run"]), capsys.readouterr().err) == (code, said)
    assert snapshot(clips) == before
    assert list(tmp_path.iterdir()) == []


BAD_OPTIONS = {
    "not a number": (["--guidance_scale", "nan"], "guidance_scale"),
    "infinite": (["--guidance_scale", "inf"], "guidance_scale"),
    "no steps": (["--inference_steps", "0"], "inference_steps"),
    "words for a number": (["--inference_steps", "many"], "inference_steps"),
    "crf": (["--crf", "99"], "crf"),
    "seed": (["--seed", "-3"], "seed"),
    "overlap": (["--overlap_frames", "99"], "overlap_frames"),
    "scheduler": (["--scheduler", "euler"], "euler"),
    "device": (["--device", "toaster"], "toaster"),
    "dtype": (["--dtype", "float3"], "float3"),
    "face": (["--face", "the nice one"], "the nice one"),
    "unknown flag": (["--video_pth", "x.mp4"], "--video_pth"),
    "exact with overlap": (["--exact", "--overlap_frames", "4"], "overlap_frames is 4, which contradicts exact"),
    "half a weight set": (["--inference_ckpt_path", "x.pt"], "--unet_config_path"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_end_in_one_line_that_names_them(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
):
    options, named = BAD_OPTIONS[case]
    out = tmp_path / "out.mp4"
    files = ["--video_path", clips / "face.mp4", "--audio_path", clips / "speech.wav", "--video_out_path", out]
    weights = [] if case == "half a weight set" else DEMO_RUN
    try:
        code: int | str | None = main([*map(str, files), *weights, *options])
    except SystemExit as left:
        code = left.code
    assert_one_line(capsys.readouterr().err, named)
    assert code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "checkpoint", "named"),
    [
        ("unknown.yaml", "garbage.pt", "in_chanels"),
        ("configs/demo/unet.yaml", "garbage.pt", "garbage.pt"),
        ("configs/demo/unet.yaml", "nowhere.pt", "nowhere.pt"),
        ("configs/unet/stage2.yaml", "checkpoints/demo/latentsync_unet.pt", "latentsync_unet.pt"),
        ("nowhere.yaml", "garbage.pt", "nowhere.yaml"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    clips: Path, tmp_path: Path, repository: Path, capsys, config: str, checkpoint: str, named: str
):
    def place(name: str) -> str:
        return str((repository if "/" in name else clips) / name)

    files = [f"--video_path={clips / 'face.mp4'}", f"--audio_path={clips / 'speech.wav'}"]
    weights = [f"--unet_config_path={place(config)}", f"--inference_ckpt_path={place(checkpoint)}", "--device=cpu"]
    assert main([*files, *weights, f"--video_out_path={tmp_path / 'out.mp4'}"]) == 2
    assert_one_line(capsys.readouterr().err, named)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_checks_and_writes_nothing(clips: Path, tmp_path: Path, capsys):
    out = tmp_path / "out.mp4"
    given = ["--video_path", str(clips / "face.mp4"), "--audio_path", str(clips / "speech.wav")]
    assert main([*given, "--video_out_path", str(out), "--dry_run", *DEMO_RUN]) == 0
    shown = capsys.readouterr().out
    assert "512 x 512, 25 fps, 0.8 s" in shown
    assert "1 of 1 can begin" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_list_names_every_fault(clips: Path, tmp_path: Path, capsys):
    jobs = [("face.mp4", "one"), ("empty.mp4", "two"), ("text.mp4", "three")]
    lines = [f"{clips / video},{clips / 'speech.wav'},{name}.mp4" for video, name in jobs]
    (tmp_path / "jobs.csv").write_text("\n".join(["video_path,audio_path,video_out_path", *lines]))
    assert main(["--list", str(tmp_path / "jobs.csv"), "--dry_run", *DEMO_RUN]) == 1
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'two.mp4'}: {clips / 'empty.mp4'}" in shown
    assert f"{tmp_path / 'three.mp4'}: {clips / 'text.mp4'}" in shown
    assert "1 of 3 can begin" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.csv"]


def test_without_ffmpeg_the_remedy_is_named(clips: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([f"--video_path={clips / 'face.mp4'}", f"--audio_path={clips / 'speech.wav'}", *DEMO_RUN]) == 2
    assert_one_line(capsys.readouterr().err, "setup_env.sh")


def test_debug_shows_where_an_error_came_from(repository: Path, clips: Path):
    done = inference(repository, "--video_path", clips / "nowhere.mp4", "--debug", *DEMO_RUN)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_full_disk_is_one_line_and_leaves_nothing(clips: Path, tmp_path: Path, capsys):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here (that takes root)")
    try:
        files = [f"--video_path={clips / 'face.mp4'}", f"--audio_path={clips / 'speech.wav'}"]
        assert main([*files, f"--video_out_path={tmp_path / 'out.mp4'}", "--crf=0", *QUICK]) == 2
        assert_one_line(capsys.readouterr().err, "full")
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "times"), [(signal.SIGINT, 6), pytest.param(signal.SIGHUP, 1, marks=pytest.mark.long)]
)
def test_an_interrupted_run_leaves_nothing(
    repository: Path, clips: Path, tmp_path: Path, kind: signal.Signals, times: int
):
    out, temporary = tmp_path / "out.mp4", tmp_path / "temporary"
    command = [repository / "inference.sh", "--video_path", clips / "face.mp4", "--audio_path", clips / "speech.wav"]
    command += ["--video_out_path", out, "--temp_dir", temporary, *DEMO_RUN, "--inference_steps", "900"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".latentsync-*.mp4")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        for _ in range(times):
            process.send_signal(kind)
            time.sleep(0.05)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + kind, error
    assert error.splitlines()[-1] == "stopped; no result was written"
    assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["temporary"]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_two_concurrent_runs_in_one_folder_do_not_interfere(repository: Path, clips: Path, tmp_path: Path):
    def start(name: str, seed: int) -> subprocess.Popen[str]:
        command = [
            repository / "inference.sh",
            "--video_path",
            clips / "face.mp4",
            "--audio_path",
            clips / "speech.wav",
        ]
        command += ["--video_out_path", name, "--temp_dir", "temporary", "--seed", str(seed), *QUICK]
        return subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    runs = [start("a.mp4", 1), start("b.mp4", 1)]
    for run in runs:
        assert run.communicate(timeout=600)[1] is not None
        assert run.returncode == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert list((tmp_path / "temporary").iterdir()) == []


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


def assert_one_line(error: str, named: str) -> None:
    said = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, error
    assert named in said[0]
    assert error.splitlines()[-1] == said[0]
    assert "Traceback" not in error


@pytest.mark.slow
def test_one_impossible_job_does_not_end_a_list(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("face.mp4", "speech.wav", "mine_sheet.png"):
        shutil.copy(clips / name, tmp_path / name)
    outs = ["face.mp4/q.mp4", "mine.mp4", "r.txt", "a\0b.mp4", "out/good.mp4"]
    rows = "".join(f"face.mp4,speech.wav,{out}\n" for out in outs)
    (tmp_path / "jobs.csv").write_text(f"video_path,audio_path,video_out_path\n{rows}none.mp4,speech.wav,b.mp4\n")
    before = {name: (tmp_path / name).read_bytes() for name in ("face.mp4", "speech.wav", "mine_sheet.png")}
    monkeypatch.chdir(tmp_path)
    assert main(["--list", "jobs.csv", "--dry_run", *QUICK]) == 1
    dry = capsys.readouterr()
    assert "1 of 6 can begin" in dry.out
    assert main(["--list", "jobs.csv", *QUICK]) == 1
    real = capsys.readouterr()
    assert "1 of 6 results are there" in real.out
    for said in (line.partition(": ")[2] for line in dry.out.splitlines()[:6] if "good" not in line):
        assert said in real.out
    assert "Traceback" not in dry.err + real.err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "good.mp4", "good.mp4.lipsync.json", "good_sheet.png",
    ]  # fmt: skip
