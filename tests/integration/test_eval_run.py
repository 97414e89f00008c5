"""From a list of videos to a report, with the demo weights on one tiny clip."""

import json
import subprocess
from pathlib import Path

import pytest

from eval.inference_videos import main as make_videos
from eval.pairs import read_pairs
from eval.run import main as evaluate
from latentsync.media.probe import probe_video
from latentsync.pipelines.video_maker import read_record
from tests.demo_weights import DEMO_RUN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A list of a talking head of 0.4 s and of a video without a face."""
    folder = tmp_path_factory.mktemp("evaluation")
    video, audio = repository / "assets" / "demo1_video.mp4", repository / "assets" / "demo1_audio.wav"
    for arguments in (
        ["-i", video, "-t", "0.4", "-vf", "scale=160:-2", folder / "face.mp4"],
        ["-ss", "0.5", "-i", audio, "-t", "0.4", folder / "speech.wav"],
        ["-f", "lavfi", "-i", "color=gray:size=96x96:rate=25:duration=0.2", folder / "faceless.mp4"],
    ):
        subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)
    lines = ("name,video,audio,reference,protocol", "face,face.mp4,speech.wav,,", "none,faceless.mp4,speech.wav,,")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_a_list_becomes_videos_and_videos_become_a_report(folder: Path, capsys: pytest.CaptureFixture[str]):
    making = ["--list", folder / "list.csv", "--out", folder / "made", "--inference_steps", "1", *DEMO_RUN]
    assert make_videos([str(one) for one in making]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 videos are there (0 from before)" in printed
    assert "failed: cross_audio-none: no face was found" in printed
    pairs = read_pairs(folder / "made" / "pairs.csv")
    assert [(pair.name, pair.row) for pair in pairs] == [
        ("face", "model"), ("none", "model"), ("face", "source"), ("none", "source"),
    ]  # fmt: skip
    assert probe_video(pairs[0].result).num_frames_estimate == 10
    assert pairs[0].report is not None
    record = read_record(pairs[0].report)
    assert record is not None
    assert record["num_synced"] == 10
    assert len(record["settings"]["weights"]["unet"]) == 40

    judging = ["--pairs", folder / "made" / "pairs.csv", "--metrics", "flicker,synced", "--out", folder / "report"]
    assert evaluate([str(one) for one in [*judging, "--device", "cpu", "--detector", "mtcnn"]]) == 0
    assert "4 videos, 1 failed" in capsys.readouterr().out
    results = json.loads((folder / "report" / "results.json").read_text())
    values = {(video["row"], video["name"]): video["values"] for video in results["videos"]}
    assert values["model", "face"]["frames_synced"] == 1.0
    assert values["model", "none"]["frames_failed"] == 1.0
    assert values["source", "face"]["flicker_ratio"] == 1.0
    assert results["making"][0]["settings"]["weights"] == record["settings"]["weights"]
    assert "failed" in (folder / "report" / "report.html").read_text()

    assert make_videos([str(one) for one in making]) == 1
    assert "1 of 2 videos are there (1 from before)" in capsys.readouterr().out
    assert evaluate([str(one) for one in [*judging, "--device", "cpu", "--detector", "mtcnn"]]) == 0
    assert " 0 measurements made" in capsys.readouterr().out


@pytest.mark.long
def test_workers_make_and_measure_the_same(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    making = ["--list", folder / "list.csv", "--inference_steps", "1", *DEMO_RUN]
    here, workers = tmp_path / "here", tmp_path / "workers"
    assert make_videos([str(one) for one in [*making, "--out", here]]) == 1
    assert make_videos([str(one) for one in [*making, "--out", workers, "--executor", "local"]]) == 1
    video = Path("videos", "cross_audio-face.mp4")
    assert (workers / video).read_bytes() == (here / video).read_bytes()

    found = []
    for more in ((), ("--executor", "local", "--workers", "2")):
        report = tmp_path / f"report{len(more)}"
        judging = ["--pairs", here / "pairs.csv", "--metrics", "psnr,flicker,synced", "--out", report, *more]
        assert evaluate([str(one) for one in [*judging, "--device", "cpu", "--detector", "mtcnn"]]) == 0
        assert "4 videos, 1 failed" in capsys.readouterr().out
        results = json.loads((report / "results.json").read_text())
        found.append([results["videos"], results["sets"], results["run"]["num_measured"]])
    assert found[0] == found[1]


def test_faults_in_what_was_asked_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert make_videos(["--out", str(tmp_path)]) == 2
    assert "give either --list or --videos" in capsys.readouterr().err
    assert make_videos(["--list", str(tmp_path / "no.csv"), "--out", str(tmp_path)]) == 2
    assert evaluate(["--pairs", str(tmp_path / "no.csv"), "--out", str(tmp_path)]) == 2
    assert evaluate(["--pairs", str(folder / "list.csv"), "--out", str(tmp_path)]) == 2
    assert "lacks the column result" in capsys.readouterr().err
