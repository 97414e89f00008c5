"""A service whose work takes milliseconds, and a process that serves it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from latentsync.errors import InputError
from latentsync.jobs.job import Job
from latentsync.jobs.limits import Limits
from latentsync.pipelines.options import LipsyncOptions
from latentsync.server.api import build_api
from latentsync.server.api_keys import ApiClient, ApiKeys
from latentsync.server.input_roots import InputRoots
from latentsync.server.lipsync_work import RESULT
from latentsync.server.outbound import Outbound
from latentsync.server.service import Service, running
from latentsync.server.serving import serving
from latentsync.server.settings import ServiceSettings

LOCAL = "http://127.0.0.1"
ANNA, BEN = ApiClient("anna", "k" * 24, max_queued=3, max_per_hour=5), ApiClient("ben", "b" * 24)


class FakeWork:
    """Work whose result is both inputs, one behind the other; inputs that start with ``bad`` are refused."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.limits = Limits(max_megabytes=1)
        self.defaults = LipsyncOptions()
        self.seconds = seconds
        self.is_paused = False

    def check(self, video: Path, audio: Path, options: LipsyncOptions) -> None:
        for path in (video, audio):
            if path.read_bytes().startswith(b"bad"):
                raise InputError(f"{path} cannot be decoded")

    def __call__(self, job: Job) -> dict[str, Any]:
        until = time.monotonic() + self.seconds
        job.report("lips", 0, 4)
        while self.is_paused or time.monotonic() < until:
            time.sleep(0.002)
            job.report("lips", 1, 4)
        video, audio = (job.folder / job.request[name] for name in ("video", "audio"))
        if audio.read_bytes().startswith(b"fail"):
            raise InputError(f"{audio} has no speech")
        (job.folder / RESULT).write_bytes(video.read_bytes() + b"|" + audio.read_bytes())
        return {"num_frames": 4, "guidance_scale": job.request["options"].get("guidance_scale")}


@contextmanager
def fake_service(
    work_dir: Path,
    keys: ApiKeys | None = None,
    outbound: Outbound | None = None,
    roots: tuple[Path, ...] = (),
    max_queued: int = 10,
) -> Iterator[tuple[TestClient, FakeWork, Service]]:
    """Run a service in this process; yield a client, the work and the service."""
    work = FakeWork()
    folders = ServiceSettings(work_dir).folders()
    with running(work, folders, max_queued, keys, outbound, InputRoots(roots)) as service:
        try:
            yield TestClient(build_api(service), LOCAL, raise_server_exceptions=False), work, service
        finally:
            work.is_paused = False


def wait_until_over(client: TestClient, job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Follow a job to its end and return its last state."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        view = client.get(f"/v1/jobs/{job_id}", headers=headers).json()
        if view["state"] in ("done", "failed", "cancelled"):
            return view
        time.sleep(0.005)
    raise AssertionError(view)


def files(video: bytes = b"video", audio: bytes = b"audio") -> dict[str, tuple[str, bytes]]:
    """Return a form with both inputs."""
    return {"video": ("talk.mp4", video), "audio": ("speech.wav", audio)}


def serve_process(work_dir: Path, seconds: float) -> None:
    """Serve in this process until it is killed; print the address."""
    settings = ServiceSettings(work_dir, port=0, max_queued=1000)
    with serving(FakeWork(seconds), settings, settings.bind()) as url:
        print(url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve_process(Path(sys.argv[1]), float(sys.argv[2]))
