"""The documented command of the service with the demo weights: one short job through HTTP."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from latentsync.media.ffmpeg_tools import run_tool
from latentsync.media.probe import probe_audio, probe_video
from latentsync.weights import REPOSITORY_ROOT
from tests.demo_weights import DEMO_RUN

pytestmark = pytest.mark.slow
PATIENCE_S = 120


def cut(source: Path, out: Path, *options: str) -> Path:
    run_tool(["ffmpeg", "-v", "error", "-i", str(source), "-t", "0.6", *options, str(out)])
    return out


def test_a_short_video_is_dubbed_through_http(tmp_path: Path):
    video = cut(REPOSITORY_ROOT / "assets" / "demo1_video.mp4", tmp_path / "talk.mp4", "-vf", "scale=256:256")
    speech = cut(REPOSITORY_ROOT / "assets" / "demo1_audio.wav", tmp_path / "speech.wav")
    command = [sys.executable, "-m", "latentsync.server", "--work_dir", str(tmp_path / "jobs"), "--port", "0"]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen([*command, *DEMO_RUN], stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            url = next(line.split()[-1] for line in process.stdout if line.startswith("listening on "))
            with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
                follow_one_job(client, video, speech, tmp_path / "result.mp4")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    assert log.read_text().splitlines()[-1] == "stopped; waiting jobs run after the next start"
    assert "Traceback" not in log.read_text()


def follow_one_job(client: httpx.Client, video: Path, speech: Path, result: Path) -> None:
    refused = client.post("/v1/jobs", files={"video": speech.open("rb"), "audio": speech.open("rb")})
    assert (refused.status_code, list(refused.json())) == (400, ["error"])
    assert str(result.parent) not in refused.text
    posted = client.post(
        "/v1/jobs",
        files={"video": video.open("rb"), "audio": speech.open("rb")},
        data={"num_inference_steps": "1", "loop_mode": "loop", "seed": "7"},
    )
    assert posted.status_code == 201, posted.text
    until = time.monotonic() + PATIENCE_S
    while (job := client.get(f"/v1/jobs/{posted.json()['id']}").json())["ended"] is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (job["state"], job["error"]) == ("done", None)
    result.write_bytes(client.get(job["result"]["url"]).content)
    assert probe_video(result).num_frames_at(25) == job["result"]["num_frames"] == 15
    assert probe_audio(result).duration_s == pytest.approx(0.6, abs=0.05)
