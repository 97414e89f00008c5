"""Measure the service with real jobs: clients at the same time, and a server that is killed in the middle.

    python -m benchmarks.service --out runs/service [--jobs 50] [--clients 5] [--seconds 2]

Every job has speech of its own, cut from the voice of its client. The server gets SIGKILL when a third of the jobs is
done, and is started again. A result belongs to its job if the mouth that the mouth reader reads in it goes best with
the speech of this job, among those of all jobs; by chance that is one of all jobs.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.demo_mouth import audio_mouth, video_mouth
from benchmarks.measurement import markdown_table
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.media.audio_samples import SAMPLE_RATE
from latentsync.media.ffmpeg_tools import media_input
from latentsync.media.transcode import write_media
from latentsync.storage.owned_folder import claim_folder
from latentsync.weights import REPOSITORY_ROOT

VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
VOICES = sorted((REPOSITORY_ROOT / "assets" / "speech").glob("*.ogg"))
_SIDE = 256
_POLL_S = 0.5
_TIMEOUT_S = 60.0
_OPENING = 0
_STEP_S = 1.0
"""Between the beginnings of two speeches of a client."""
_VOICE_S = 12.0
"""Length of each of `VOICES`."""


@dataclass(frozen=True)
class Sent:
    """A job that the server has accepted.

    Attributes:
        id: of the job.
        client: number of its client.
        speech: its driving audio.
        seconds: time of the request.
    """

    id: str
    client: int
    speech: Path
    seconds: float


@contextmanager
def server(work_dir: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Start the service with the default weights; yield its process, and a client of it."""
    command = [sys.executable, "-m", "latentsync.server", "--work_dir", str(work_dir), "--port", "0"]
    with subprocess.Popen([*command, "--max_queued", "1000"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next((line.split()[-1] for line in process.stdout if line.startswith("listening on ")), None)
        if url is None:
            raise InputError("the service did not start: see its message above")
        try:
            with httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as client:
                yield process, client
        finally:
            process.kill()


def cut_inputs(folder: Path, num_clients: int, num_jobs: int, seconds: float) -> tuple[Path, list[list[Path]]]:
    """Write the source video, and the speech of every job by client.

    Raises:
        InputError: a voice is too short for the jobs of a client.
    """
    if (-(-num_jobs // num_clients) - 1) * _STEP_S + seconds > _VOICE_S:
        raise InputError(f"a client has only {_VOICE_S:g} s of speech: use fewer jobs, or more clients")
    video = folder / "talk.mp4"
    write_media([media_input(VIDEO)["v:0"]], video, t=seconds, s=f"{_SIDE}x{_SIDE}")
    speeches: list[list[Path]] = [[] for _ in range(num_clients)]
    for job in range(num_jobs):
        client = job % num_clients
        path = folder / f"speech_{job}.wav"
        voice = media_input(VOICES[client % len(VOICES)], ss=len(speeches[client]) * _STEP_S)
        write_media([voice["a:0"]], path, t=seconds, ac=1, ar=SAMPLE_RATE)
        speeches[client].append(path)
    return video, speeches


def send(client: httpx.Client, video: Path, number: int, speeches: list[Path]) -> list[Sent]:
    """Send the jobs of one client, one after the other."""
    sent = []
    for speech in speeches:
        start = time.perf_counter()
        with video.open("rb") as first, speech.open("rb") as second:
            answer = client.post("/v1/jobs", files={"video": (video.name, first), "audio": (speech.name, second)})
        answer.raise_for_status()
        sent.append(Sent(answer.json()["id"], number, speech, time.perf_counter() - start))
    return sent


def wait_until_over(client: httpx.Client, jobs: list[Sent], num_over: int) -> None:
    """Wait until a number of jobs has ended, and report them."""
    reported = -1
    while True:
        ended = sum(client.get(f"/v1/jobs/{job.id}").json()["ended"] is not None for job in jobs)
        if ended != reported:
            print(f"{ended} of {len(jobs)} jobs have ended", file=sys.stderr, flush=True)
            reported = ended
        if ended >= num_over:
            return
        time.sleep(_POLL_S)


def best_speech(result: Path, expected: list[np.ndarray]) -> tuple[int, float]:
    """Return the index of the speech that goes best with the mouth of a result, and the correlation."""
    opening = video_mouth(result)[:, _OPENING]
    found = [np.corrcoef(opening, each[: len(opening), _OPENING])[0, 1] for each in expected]
    return int(np.argmax(found)), float(np.max(found))


def measure(out: Path, num_jobs: int, num_clients: int, seconds: float) -> dict[str, str]:
    """Run all jobs with a kill in the middle; return the measured values by name."""
    video, speeches = cut_inputs(out, num_clients, num_jobs, seconds)
    work_dir, start = out / "work", time.perf_counter()
    with server(work_dir) as (process, client):
        with ThreadPoolExecutor(num_clients) as pool:
            parts = pool.map(lambda number: send(client, video, number, speeches[number]), range(num_clients))
            jobs = [job for part in parts for job in part]
        wait_until_over(client, jobs, num_jobs // 3)
        os.kill(process.pid, signal.SIGKILL)
    with server(work_dir) as (_, client):
        wait_until_over(client, jobs, num_jobs)
        took = time.perf_counter() - start
        views = [client.get(f"/v1/jobs/{job.id}").json() for job in jobs]
        for job in jobs:
            (out / f"{job.id}.mp4").write_bytes(client.get(f"/v1/jobs/{job.id}/result").content)
    num_done = sum(view["state"] == "done" for view in views)
    expected = [audio_mouth(job.speech, round(seconds * 25) + 1) for job in jobs]
    found = [best_speech(out / f"{job.id}.mp4", expected) for job in jobs]
    num_own = sum(best == index for index, (best, _) in enumerate(found))
    num_clients_own = sum(jobs[best].client == job.client for job, (best, _) in zip(jobs, found, strict=True))
    return {
        "jobs sent, done": f"{len(jobs)}, {num_done}",
        "results whose mouth goes best with their own speech": f"{num_own} of {len(jobs)}",
        "results whose mouth goes best with speech of their client": f"{num_clients_own} of {len(jobs)}",
        "median correlation with the best speech": f"{np.median([value for _, value in found]):.2f}",
        "median time of a request until it is queued": f"{np.median([job.seconds for job in jobs]):.2f} s",
        "time in all, with the kill and the second start": f"{took:.0f} s",
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of inputs, jobs and results")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of every speech")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")

    def run() -> int:
        claim_folder(arguments.out, "benchmark", "name another --out")
        values = measure(arguments.out, arguments.jobs, arguments.clients, arguments.seconds)
        rows = [{"measured": name, "value": value} for name, value in values.items()]
        print(markdown_table(["measured", "value"], rows))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
