"""Requests that no client would send, to a service with work that takes milliseconds."""

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from starlette.testclient import TestClient

from latentsync.server.service import Service
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import REPOSITORY_ROOT
from tests.fake_service import fake_service
from tests.fuzz.harness import CASES, Outcome, contents

SECRET = "the user's"
_PATHS = ("letter.txt", "../letter.txt", "/etc/passwd", "root/../letter.txt", "link.txt", ".", "", "a\0b", "x" * 5000)
_URLS = ("http://127.0.0.1:1/a", "file:///etc/passwd", "https://a.example@b.example/", "http://[", "ftp://a/b", "//a")
_KINDS = ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "")
_ROUTES = (
    *("/v1", "/v1/jobs/", "/v1/jobs/x", "/v1/jobs/x/result", "/v1/jobs/..%2f..%2fletter.txt", "/v1/jobs/' OR 1=1"),
    *("/v1/jobs/%00", "/../letter.txt", "/file=/etc/passwd", "/static/../letter.txt"),
)


@dataclass(frozen=True)
class Target:
    """A running service, and the folder of the user beside its own."""

    client: TestClient
    service: Service
    folder: Path


@cache
def target() -> Target:
    """Starts the service, once; it ends with the process."""
    stack = ExitStack()
    folder = stack.enter_context(temporary_folder())
    (folder / "letter.txt").write_text(SECRET)
    (folder / "root").mkdir()
    (folder / "root" / "link.txt").symlink_to(folder / "letter.txt")
    client, _, service = stack.enter_context(fake_service(folder / "work", roots=(folder / "root",), max_queued=1000))
    atexit.register(stack.close)
    return Target(client, service, folder)


def request(method: str, path: str, body: dict[str, Any]) -> None:
    """Sends one request that cannot succeed: 4xx and one line that tells nothing of the server; nothing is left."""
    service = target()
    answer = service.client.request(method, path, **body)
    assert 400 <= answer.status_code < 500, (method, path, body, answer.status_code, answer.text[:500])
    for secret in (str(service.folder), str(REPOSITORY_ROOT), "Traceback", SECRET, "root:x:"):
        assert secret not in answer.text, (method, path, answer.text[:500])
    if method != "HEAD":
        assert list(answer.json()) == ["error"], answer.text
        assert len(answer.json()["error"].splitlines()) == 1
    assert list(service.service.folders.jobs.iterdir()) == []
    users = {name for name in contents(service.folder) if not name.startswith("work")}
    assert users == {"letter.txt", "root", "root/link.txt"}, users
    CASES.add("service", Outcome(answer.status_code, "", ""))


def cases() -> st.SearchStrategy[Callable[[], None]]:
    """Strategy of requests that cannot succeed: inputs are never complete."""
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    value = plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=5), plain, max_size=3)
    source = st.sampled_from((*_PATHS, *_URLS)) | st.text(max_size=30)
    fields = st.dictionaries(
        st.sampled_from(["guidance_scale", "num_inference_steps", "seed", "loop_mode", "face", "silence", "webhook_url",
                         "video", "audio", "names", "options", "__proto__"]) | st.text(max_size=8),
        value, max_size=4,
    )  # fmt: skip
    named = st.dictionaries(
        st.sampled_from(["video_path", "audio_path", "video_url", "audio_url"]), source, min_size=1, max_size=4
    )
    json_body = st.builds(lambda one, other: {"json": _without_nan({**one, **other})}, fields, named)
    form = st.builds(
        lambda one, name, file: {"data": {k: str(v) for k, v in one.items()}, "files": {name: file}},
        fields,
        st.sampled_from(["video", "video", "more", ""]),
        st.tuples(st.sampled_from(["../a.mp4", "/etc/passwd", "", "n" * 400, "a\r\nb.mp4"]), st.binary(max_size=200)),
    )
    raw = st.builds(
        lambda content, kind: {"content": content, "headers": {"content-type": kind}},
        st.binary(max_size=200) | st.just(b'--x\r\nContent-Disposition: form-data; name="video"\r\n\r\n'),
        st.sampled_from(
            ["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""]
        ),
    )
    posts = st.tuples(st.just("POST"), st.just("/v1/jobs"), json_body | form | raw)
    others = st.tuples(
        st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "PATCH"]),
        st.sampled_from(_ROUTES),
        st.just({}),
    )
    strangers = st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.just("/v1/jobs/x"),
        st.sampled_from([{"headers": {"host": "evil.example"}}, {"headers": {"origin": "null"}}]),
    )
    return (posts | others | strangers).map(lambda chosen: lambda: request(*chosen))


def _without_nan(body: dict[str, Any]) -> dict[str, Any]:
    """The client itself refuses numbers that JSON does not have."""
    return {key: value for key, value in body.items() if not isinstance(value, (float, list, dict))}
