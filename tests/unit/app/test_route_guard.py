import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentsync.app.route_guard import RouteGuard
from latentsync.jobs.visible_text import A_FILE

READABLE = Path("/srv/uploads/0a/video.mp4").absolute()
APP = SimpleNamespace(cookie_id="c", tokens={"right": "me"})


async def served(scope, receive, send):
    """The guarded application: answer with the status of the query and a path of the server."""
    status = int(scope["query_string"] or b"200")
    body = b"no such file: /srv/me/secret.txt"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body[:10], "more_body": True})
    await send({"type": "http.response.body", "body": body[10:]})


def ask(
    path: str, method: str = "GET", needs_login: bool = False, cookie: str = "", query: str = "", kind: str = "http"
) -> list[dict[str, Any]]:
    """Return all messages of the response."""
    sent: list[dict[str, Any]] = []

    async def send(message) -> None:
        sent.append(dict(message))

    async def receive():
        raise AssertionError("the body of the request is not read")

    scope = {"type": kind, "path": path, "method": method, "query_string": query.encode(), "app": APP}
    scope["headers"] = [(b"cookie", cookie.encode())] if cookie else []
    asyncio.run(RouteGuard(served, needs_login, READABLE.__eq__)(scope, receive, send))
    return sent


def status(path: str, method: str = "GET", **settings: Any) -> int:
    return ask(path, method, **settings)[0]["status"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/assets/index-1.js"),
        ("GET", f"/gradio_api/file={READABLE}"),
        ("HEAD", f"/gradio_api/file={READABLE}"),
        ("POST", "/gradio_api/call/lipsync"),
        ("GET", "/gradio_api/call/lipsync/0a"),
        ("GET", "/gradio_api/heartbeat/0a"),
    ],
)
def test_requests_of_the_page_pass(method: str, path: str):
    assert status(path, method) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/gradio_api/file/{READABLE}"),
        ("GET", f"/gradio_api/file//{READABLE}"),
        ("GET", f"/file={READABLE}"),
        ("GET", f"/file/{READABLE}"),
        ("GET", f"//gradio_api/file={READABLE}"),
        ("GET", f"/gradio_api//file={READABLE}"),
        ("GET", f"/GRADIO_API/FILE={READABLE}"),
        ("GET", f"/gradio_api/file%3D{READABLE}"),
        ("GET", f"/gradio_api/file%2F{READABLE}"),
        ("GET", f"/x/../gradio_api/file={READABLE}"),
        ("GET", "/gradio_api/file="),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file=https://example.com/x"),
        ("GET", f"/gradio_api/file={READABLE}\n"),
        ("POST", f"/gradio_api/file={READABLE}"),
        ("GET", "/gradio_api/proxy=https://example.hf.space/x"),
        ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"),
        ("GET", "/gradio_api/deep_link"),
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/gradio_api/custom_component/a/client/b/c"),
        ("GET", "/static/../secret"),
        ("GET", "/static//etc/passwd"),
        ("GET", "/assets/..\\secret"),
        ("GET", "/config/x"),
        ("GET", ""),
        ("POST", "/config"),
        ("OPTIONS", "/config"),
        ("TRACE", "/"),
    ],
)
def test_everything_else_is_refused(method: str, path: str):
    assert status(path, method) == 403


def test_a_route_below_a_proxys_path_is_the_same_route():
    sent: list[Any] = []

    async def send(message) -> None:
        sent.append(message["type"] == "http.response.start" and message["status"])

    async def receive():
        raise AssertionError

    for path in ("/app/config", "/app/gradio_api/file=/etc/passwd"):
        scope = {"type": "http", "path": path, "root_path": "/app", "method": "GET", "query_string": b"", "headers": []}
        asyncio.run(RouteGuard(served, False, READABLE.__eq__)(scope, receive, send))
    assert [code for code in sent if code] == [200, 403]


@pytest.mark.parametrize(
    ("cookie", "code"),
    [
        ("", 401),
        ("access-token-c=wrong", 401),
        ("access-token-c=", 401),
        ("access-token-other=right", 401),
        ("access-token-c=right", 200),
        ("access-token-unsecure-c=right", 200),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/gradio_api/cancel"), ("GET", f"/gradio_api/file={READABLE}")])
def test_a_login_is_required(method: str, path: str, cookie: str, code: int):
    assert status(path, method, needs_login=True, cookie=cookie) == code


def test_open_routes_need_no_login():
    assert status("/", needs_login=True) == 200
    assert status("/login", "POST", needs_login=True) == 200


def test_sockets_are_closed():
    assert [message["type"] for message in ask("/", kind="websocket")] == ["websocket.close"]


@pytest.mark.parametrize("code", [400, 403, 404, 422, 500])
def test_bodies_of_errors_have_no_paths(code: int):
    start, body = ask("/", query=str(code))
    assert start["status"] == code
    assert body["body"].decode() == f"no such file: {A_FILE}"
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])


def test_other_answers_pass_unchanged():
    assert b"".join(message.get("body", b"") for message in ask("/")) == b"no such file: /srv/me/secret.txt"


def test_a_refusal_is_one_line_of_json():
    assert json.loads(ask("/secret")[1]["body"]) == {"detail": "not served here"}
