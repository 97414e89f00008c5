"""A real server process: it is killed in the middle of 50 jobs of five clients, and a client is killed as well."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import ChainMap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fake_service import files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process"),
]
NUM_CLIENTS, JOBS_EACH = 5, 10
JOB_SECONDS = "0.06"
PATIENCE_S = 60


@contextmanager
def server(work_dir: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "tests.fake_service", str(work_dir), JOB_SECONDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
            yield process, client
        process.kill()


def submit(client: httpx.Client, who: int) -> dict[str, bytes]:
    """Send the jobs of one client; return the expected results by id."""
    expected = {}
    for number in range(JOBS_EACH):
        video, audio = f"face {who}".encode(), f"speech {who}.{number}".encode()
        answer = client.post("/v1/jobs", files=files(video, audio))
        assert answer.status_code == 201, answer.text
        expected[answer.json()["id"]] = video + b"|" + audio
    return expected


def wait_until(client: httpx.Client, num_done: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while f'latentsync_jobs{{state="done"}} {num_done}\n' not in client.get("/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_every_job_ends_once_with_its_own_result_although_the_server_is_killed(tmp_path: Path):
    num_jobs = NUM_CLIENTS * JOBS_EACH
    with server(tmp_path) as (process, client):
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            expected = ChainMap(*pool.map(lambda who: submit(client, who), range(NUM_CLIENTS)))
        os.kill(process.pid, signal.SIGKILL)
    assert len(expected) == num_jobs
    with server(tmp_path) as (_, client):
        wait_until(client, num_jobs)
        for job, content in expected.items():
            view = client.get(f"/v1/jobs/{job}").json()
            assert (view["state"], view["error"]) == ("done", None)
            assert client.get(f"/v1/jobs/{job}/result").content == content
        text = client.get("/metrics").text
        assert 'latentsync_jobs_ended_total{state="done"} 0\n' not in text, "some ended after the restart"
        folders = {path.name for path in (tmp_path / "latentsync-server" / "jobs").iterdir()}
        assert folders == set(expected), "nothing else is left"


def test_a_killed_client_leaves_nothing(tmp_path: Path):
    with server(tmp_path) as (_, client):
        address = (client.base_url.host, client.base_url.port)
        jobs = tmp_path / "latentsync-server" / "jobs"
        with socket.create_connection(address) as upload:
            head = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            body = '--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n' + "half" * 1000
            upload.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n{body}".encode())
            wait_for(lambda: list(jobs.rglob("video.mp4")))
        wait_for(lambda: not list(jobs.iterdir()))
        assert client.get("/healthz").json() == {"status": "ok"}


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
