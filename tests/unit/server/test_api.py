"""The API through HTTP, with work that takes milliseconds."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from latentsync.jobs.job import JobState
from latentsync.server import api
from latentsync.server.api_error import ApiError
from latentsync.server.api_keys import ApiKeys
from latentsync.server.outbound import Outbound
from latentsync.server.service import Service
from tests.fake_service import ANNA, BEN, FakeWork, fake_service, files, wait_until_over

Running = tuple[TestClient, FakeWork, Service]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with fake_service(tmp_path / "work") as started:
        yield started


def test_a_job_from_upload_to_result(running: Running):
    client, _, service = running
    posted = client.post("/v1/jobs", files=files(b"me", b"hello"), data={"guidance_scale": "2.5"})
    assert posted.status_code == 201, posted.text
    job = posted.json()
    assert job["state"] in ("queued", "running", "done")
    assert posted.headers["location"] == f"/v1/jobs/{job['id']}"
    view = wait_until_over(client, job["id"])
    assert (view["state"], view["progress"], view["error"]) == ("done", 1.0, None)
    assert view["created"] <= view["started"] <= view["ended"]
    assert view["result"] == {
        "url": f"/v1/jobs/{job['id']}/result", "bytes": 8, "num_frames": 4, "guidance_scale": 2.5,
    }  # fmt: skip
    answer = client.get(view["result"]["url"])
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"me|hello", "video/mp4")
    assert sorted(path.name for path in service.folders.of(job["id"]).iterdir()) == ["result.mp4"], "inputs are removed"


def test_waiting_running_and_cancelled_jobs(running: Running):
    client, work, _ = running
    work.is_paused = True
    ids = [client.post("/v1/jobs", files=files()).json()["id"] for _ in range(3)]
    until = time.monotonic() + 30
    while (first := client.get(f"/v1/jobs/{ids[0]}").json())["progress"] == 0 and time.monotonic() < until:
        time.sleep(0.005)
    assert (first["state"], first["stage"], first["queue_position"]) == ("running", "lips", None)
    assert 0.3 < first["progress"] < 1
    assert [client.get(f"/v1/jobs/{job}").json()["queue_position"] for job in ids[1:]] == [1, 2]
    assert client.get(f"/v1/jobs/{ids[1]}/result").status_code == 409
    assert client.delete(f"/v1/jobs/{ids[1]}").json()["state"] == "cancelled"
    client.delete(f"/v1/jobs/{ids[0]}")
    assert wait_until_over(client, ids[0])["state"] == "cancelled"
    work.is_paused = False
    assert wait_until_over(client, ids[2])["state"] == "done"


def test_a_deleted_or_expired_result_is_gone_and_its_job_remains_known(running: Running):
    client, _, service = running
    job = client.post("/v1/jobs", files=files()).json()["id"]
    wait_until_over(client, job)
    view = client.delete(f"/v1/jobs/{job}").json()
    assert (view["state"], view["result"]["url"]) == ("done", None)
    assert client.get(f"/v1/jobs/{job}/result").status_code == 410
    assert not service.folders.of(job).exists()
    other = client.post("/v1/jobs", files=files()).json()["id"]
    wait_until_over(client, other)
    service.folders.sweep(time.time() + 25 * 3600)
    assert client.get(f"/v1/jobs/{other}/result").status_code == 410


def test_a_failed_job_tells_why_in_the_names_of_the_client(running: Running):
    client, _, _ = running
    job = client.post("/v1/jobs", files=files(audio=b"fail")).json()["id"]
    assert wait_until_over(client, job)["error"] == "speech.wav has no speech"
    assert client.get(f"/v1/jobs/{job}/result").json() == {"error": "the job is failed: speech.wav has no speech"}


BAD: list[tuple[dict, int, str]] = [
    ({"files": files(video=b"bad")}, 400, "talk.mp4 cannot be decoded"),
    ({"files": {"video": ("a.mp4", b"x")}}, 400, "give one of audio"),
    ({"files": files(), "data": {"audio_path": "x"}}, 400, "give one of audio"),
    ({"files": files(), "data": {"guidance_scale": "much"}}, 400, "guidance_scale must be a number"),
    ({"files": files(), "data": {"guidance_scale": "99"}}, 400, "guidance_scale is 99"),
    ({"files": files(), "data": {"seed": "1.5"}}, 400, "seed must be a whole number"),
    ({"files": files(), "data": {"loop_mode": "spin"}}, 400, "choose one of bounce"),
    ({"files": files(), "data": {"face": "nobody"}}, 400, "nobody"),
    ({"files": files(), "data": {"colour": "red"}}, 400, "there is no field 'colour'"),
    ({"files": {**files(), "more": ("x", b"x")}}, 400, "'more' is a file"),
    ({"data": {"video": "x"}, "files": {"audio": ("a.wav", b"x")}}, 400, "video must be a file"),
    ({"files": files(video=b"x" * (1 << 20) + b"x")}, 413, "video has more than 1 MB"),
    ({"files": files(), "data": {"face": "x" * 70000}}, 413, "fields"),
    ({"json": {"video_url": "http://a.b/c.mp4", "audio_path": "x"}}, 400, "not among the --allow_hosts"),
    ({"json": {"video_path": "/etc/passwd", "audio_path": "/etc/passwd"}}, 404, "video_path is not a file below"),
    ({"json": ["video"]}, 400, "not a JSON object"),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not valid JSON"),
    ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "multipart/form-data"),
    ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "not complete"),
    ({"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "not valid"),
    ({"files": files(), "data": {"webhook_url": "https://a.b/"}}, 400, "requires a server with --keys"),
]


@pytest.mark.parametrize(("request_", "status", "words"), BAD, ids=[words for *_, words in BAD])
def test_a_bad_request_is_one_line_and_leaves_nothing(running: Running, request_: dict, status: int, words: str):
    client, _, service = running
    answer = client.post("/v1/jobs", **request_)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]
    assert list(service.folders.jobs.iterdir()) == []
    assert service.folders.store.counts() == {}


def test_an_upload_that_breaks_off_leaves_nothing(running: Running):
    client, _, service = running
    answer = client.post(
        "/v1/jobs",
        content=b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\nhalf',
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 400
    assert list(service.folders.jobs.iterdir()) == []


@pytest.mark.parametrize(("min_rate", "timeout_s"), [(1, 10.0), (10**9, 0.05)])
def test_an_upload_that_arrives_byte_by_byte_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_rate: int, timeout_s: float
):
    """With a rate that is high enough the whole body is received."""
    monkeypatch.setattr(api, "_CHUNK_TIMEOUT_S", timeout_s)
    monkeypatch.setattr(api, "_MIN_BYTES_PER_S", min_rate)
    body = iter(b'{"seed": 5, "face": "left"}' + bytes(200 * (min_rate > 1)))

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.001)
        byte = next(body, None)
        return {"type": "http.request", "body": b"" if byte is None else bytes([byte]), "more_body": byte is not None}

    request = Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
    if min_rate == 1:
        form = asyncio.run(api._receive(request, tmp_path, 100))
        assert form.fields == {"seed": 5, "face": "left"}
    else:
        with pytest.raises(ApiError, match="too slow") as caught:
            asyncio.run(api._receive(request, tmp_path, 100))
        assert caught.value.status == 408


def test_a_full_queue_says_when_to_try_again(tmp_path: Path):
    with fake_service(tmp_path, max_queued=2) as (client, work, service):
        work.is_paused = True
        answers = [client.post("/v1/jobs", files=files()) for _ in range(6)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 3
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert len(list(service.folders.jobs.iterdir())) == 6 - len(refused)


def test_keys_limits_and_owners(tmp_path: Path):
    anna, ben = ({"Authorization": f"Bearer {each.key}"} for each in (ANNA, BEN))
    with fake_service(tmp_path, ApiKeys((ANNA, BEN))) as (client, work, _):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": ""}, {"X-API-Key": ANNA.key[:-1]}):
            for answer in (
                client.post("/v1/jobs", files=files(), headers=headers),
                client.get("/v1/jobs/x", headers=headers),
                client.get("/metrics", headers=headers),
            ):
                assert answer.status_code == 401
        assert client.get("/healthz").json() == {"status": "ok"}
        work.is_paused = True
        answers = [client.post("/v1/jobs", files=files(), headers=anna) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert "3 jobs at a time" in answers[-1].json()["error"]
        job = answers[0].json()["id"]
        for answer in (
            client.get(f"/v1/jobs/{job}", headers=ben),
            client.get(f"/v1/jobs/{job}/result", headers=ben),
            client.delete(f"/v1/jobs/{job}", headers=ben),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "there is no such job"})
        work.is_paused = False
        for answer in answers[:3]:
            assert wait_until_over(client, answer.json()["id"], anna)["state"] == "done"
        more = [client.post("/v1/jobs", files=files(), headers={"X-API-Key": ANNA.key}) for _ in range(3)]
        assert [answer.status_code for answer in more] == [201, 201, 429]
        assert "5 jobs per hour" in more[-1].json()["error"]


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}, {"host": "[x"}]
)
def test_web_pages_cannot_use_a_server_without_keys(running: Running, headers: dict[str, str]):
    client, _, _ = running
    answer = client.post("/v1/jobs", files=files(), headers=headers)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


def test_paths_below_a_root_and_nothing_else(tmp_path: Path):
    root, secret = tmp_path / "root", tmp_path / "secret.mp4"
    (root / "sub").mkdir(parents=True)
    for path in (root / "talk.mp4", root / "sub" / "speech.wav", secret):
        path.write_text(path.name)
    (root / "link.mp4").symlink_to(secret)
    (root / "good.wav").symlink_to(root / "sub" / "speech.wav")
    (root / "folder.wav").symlink_to(tmp_path)
    with fake_service(tmp_path / "work", roots=(root,)) as (client, _, service):
        for audio in (str(root / "sub" / "speech.wav"), "sub/speech.wav", "good.wav"):
            posted = client.post("/v1/jobs", json={"video_path": "talk.mp4", "audio_path": audio, "seed": 3})
            assert posted.status_code == 201, posted.text
            job = posted.json()["id"]
            wait_until_over(client, job)
            assert client.get(f"/v1/jobs/{job}/result").content == b"talk.mp4|speech.wav"
        before = service.folders.store.counts()
        database = str(service.folders.root / "jobs.sqlite")
        outside = [str(secret), "../secret.mp4", "link.mp4", "folder.wav/secret.mp4", "sub", ".", "absent.mp4"]
        outside += [str(tmp_path / "absent.mp4"), "/etc/passwd", "/proc/self/environ", database]
        answers = [client.post("/v1/jobs", json={"video_path": path, "audio_path": "good.wav"}) for path in outside]
        refused = '{"error":"video_path is not a file below an --input_root of this server"}'
        assert {(answer.status_code, answer.text) for answer in answers} == {(404, refused)}
        assert service.folders.store.counts() == before
    assert (root / "talk.mp4").read_text() == "talk.mp4"


def test_metrics_and_description(running: Running):
    client, _, _ = running
    job = client.post("/v1/jobs", files=files()).json()["id"]
    wait_until_over(client, job)
    client.post("/v1/jobs", files=files(audio=b"fail"))
    text = client.get("/metrics").text
    assert 'latentsync_jobs{state="done"} 1' in text
    assert 'latentsync_jobs_ended_total{state="done"} 1' in text
    assert 'latentsync_stage_seconds_total{stage="lips"}' in text
    assert "latentsync_queue_length " in text
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result", "/healthz", "/metrics",
    }  # fmt: skip
    page = client.get("/docs").text
    assert all(words in page for words in ("POST /v1/jobs", "guidance_scale", "DELETE /v1/jobs/{job_id}"))
    assert "src=" not in page
    assert "http" not in page.replace("HTTP", "")


def test_unknown_jobs_routes_and_methods_are_one_line(running: Running):
    client, _, service = running
    received = service.folders.new("lipsync").name
    for method, path, status in (
        ("GET", "/v1/jobs/unknown", 404),
        ("GET", f"/v1/jobs/{received}", 404),
        ("DELETE", "/v1/jobs/..%2f..", 404),
        ("GET", "/v1/jobs/x/result", 404),
        ("GET", "/etc/passwd", 404),
        ("PUT", "/v1/jobs", 405),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), path


def test_an_unexpected_error_is_one_line_without_details(running: Running, monkeypatch: pytest.MonkeyPatch):
    client, work, service = running

    def fail(*arguments: object) -> None:
        raise RuntimeError("/secret/place: a bug")

    monkeypatch.setattr(work, "check", fail)
    answer = client.post("/v1/jobs", files=files())
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong inside the program; its log has the details"}
    assert list(service.folders.jobs.iterdir()) == []


def test_queued_jobs_survive_a_stop_of_the_service(tmp_path: Path):
    with fake_service(tmp_path) as (client, work, service):
        work.is_paused = True
        ids = [client.post("/v1/jobs", files=files(audio=str(i).encode())).json()["id"] for i in range(4)]
        service.queue.close()
        counts = service.folders.store.counts()
    assert counts == {JobState.QUEUED: 4}
    with fake_service(tmp_path) as (client, _, _):
        for number, job in enumerate(ids):
            assert wait_until_over(client, job)["state"] == "done"
            assert client.get(f"/v1/jobs/{job}/result").content == f"video|{number}".encode()


def test_a_webhook_must_be_on_an_allowed_host(tmp_path: Path):
    outbound = Outbound(("hooks.example",))
    with fake_service(tmp_path, ApiKeys((ANNA,)), outbound) as (client, _, _):
        answer = client.post(
            "/v1/jobs",
            files=files(),
            data={"webhook_url": "https://evil.example/"},
            headers={"X-API-Key": ANNA.key},
        )
        assert (answer.status_code, "not among the --allow_hosts" in answer.text) == (400, True)
