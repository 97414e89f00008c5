"""Access control in front of gradio: allowed routes, logins and files.

gradio's rules differ from route to route: some routes answer without login, and those for files check the spelling of
a path. `RouteGuard` applies one rule to all: a route that is not in `SERVED` is refused, a route that is not open
requires a login if the app has one, and a file is served only if `may_be_read` allows it. Bodies of errors contain no
absolute path of the server.

Routes are spelled as in gradio, so that a test can compare both lists: it fails if a release of gradio has a route that
is in neither table.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.routing import compile_path

from latentsync.jobs.visible_text import error_line, without_paths

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_COOKIES = ("access-token", "access-token-unsecure")
_MAX_ERROR_BYTES = 1 << 16

_GET, _READ, _POST = frozenset({"GET"}), frozenset({"GET", "HEAD"}), frozenset({"POST"})


@dataclass(frozen=True)
class Route:
    """A served route.

    Attributes:
        path: spelled as in gradio, with variable parts in braces.
        methods: allowed HTTP methods.
        is_open: whether it answers without login even if the app has one.
    """

    path: str
    methods: frozenset[str]
    is_open: bool = False


FILE_ROUTE = "/gradio_api/file={path_or_url:path}"

SERVED = (
    # The login form, its scripts and styles (files of gradio's package), and the login itself.
    Route("/", _READ, is_open=True),
    Route("/login", _POST, is_open=True),
    Route("/login/", _POST, is_open=True),
    Route("/assets/{path:path}", _READ, is_open=True),
    Route("/static/{path:path}", _READ, is_open=True),
    Route("/theme.css", _READ, is_open=True),
    Route("/gradio_api/theme.css", _READ, is_open=True),
    Route("/favicon.ico", _READ, is_open=True),
    Route("/manifest.json", _READ, is_open=True),
    Route("/robots.txt", _READ, is_open=True),
    # gradio requests this from itself during its start; the answer is true or false.
    Route("/gradio_api/startup-events", _GET, is_open=True),
    # The page and the client of the API.
    Route("/logout", _GET),
    Route("/config", _GET),
    Route("/config/", _GET),
    Route("/gradio_api/info", _GET),
    Route("/gradio_api/info/", _GET),
    Route("/gradio_api/app_id", _GET),
    Route("/gradio_api/app_id/", _GET),
    Route("/gradio_api/user", _GET),
    Route("/gradio_api/user/", _GET),
    Route("/gradio_api/login_check", _GET),
    Route("/gradio_api/login_check/", _GET),
    Route("/gradio_api/upload", _POST),
    Route("/gradio_api/upload_progress", _GET),
    Route(FILE_ROUTE, _READ),
    Route("/gradio_api/queue/join", _POST),
    Route("/gradio_api/queue/data", _GET),
    Route("/gradio_api/queue/status", _GET),
    Route("/gradio_api/run/{api_name}", _POST),
    Route("/gradio_api/run/{api_name}/", _POST),
    Route("/gradio_api/api/{api_name}", _POST),
    Route("/gradio_api/api/{api_name}/", _POST),
    Route("/gradio_api/call/{api_name}", _POST),
    Route("/gradio_api/call/{api_name}/", _POST),
    Route("/gradio_api/call/{api_name}/{event_id}", _GET),
    Route("/gradio_api/call/v2/{api_name}", _POST),
    Route("/gradio_api/call/v2/{api_name}/", _POST),
    Route("/gradio_api/call/v2/{api_name}/{event_id}", _GET),
    Route("/gradio_api/cancel", _POST),
    Route("/gradio_api/reset", _POST),
    Route("/gradio_api/reset/", _POST),
    Route("/gradio_api/heartbeat/{session_hash}", _GET),
)

REFUSED = frozenset(
    {
        # Other spellings for files, files and addresses of other servers, files that gradio would write.
        "/gradio_api/file/{path:path}",
        "/gradio_api/proxy={url_path:path}",
        "/gradio_api/deep_link",
        "/gradio_api/process_recording",
        "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
        "/gradio_api/component_server",
        "/gradio_api/component_server/",
        # Streams, which the page does not use.
        "/gradio_api/stream/{event_id}",
        "/gradio_api/stream/{event_id}/close",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
        # Records of the requests of other visitors.
        "/gradio_api/runs",
        "/gradio_api/runs/",
        "/gradio_api/run-history/connect",
        "/gradio_api/run-history/buckets",
        "/gradio_api/run-history/records",
        "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}",
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/{key}",
        # For developers of gradio apps, and for applications installed from the browser.
        "/gradio_api/token",
        "/gradio_api/token/",
        "/gradio_api/openapi.json",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-edit",
        "/gradio_api/vibe-edit/",
        "/gradio_api/undo-vibe-edit",
        "/gradio_api/undo-vibe-edit/",
        "/gradio_api/vibe-code",
        "/gradio_api/vibe-code/",
        "/gradio_api/vibe-starter-queries",
        "/gradio_api/vibe-starter-queries/",
        "/svelte/{path:path}",
        "/pwa_icon",
        "/pwa_icon/{size}",
        "/openapi.json",
    }
)


class RouteGuard:
    """ASGI middleware that applies the rules of this module.

    Args:
        app: the application to guard, inside a gradio app.
        needs_login: whether routes that are not open require a login.
        may_be_read: returns True for a file that may be served.
    """

    def __init__(self, app: App, needs_login: bool, may_be_read: Callable[[Path], bool]) -> None:
        self._app = app
        self._needs_login = needs_login
        self._may_be_read = may_be_read
        self._routes = [(compile_path(route.path)[0], route) for route in SERVED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or answer 403 or 401."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (refusal := self._refusal(scope)) is not None:
            await _answer(send, *refusal)
        else:
            await self._pass(scope, receive, _WithoutPaths(send))

    async def _pass(self, scope: Scope, receive: Receive, send: "_WithoutPaths") -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if send.has_begun:
                raise
            await _answer(send, 500, error_line(error))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self.route(scope["method"], path)
        if route is None:
            return 403, "not served here"
        if self._needs_login and not route.is_open and not is_logged_in(scope):
            return 401, "log in first"
        if route.path == FILE_ROUTE and not self._may_be_read(Path(path.partition("=")[2])):
            return 403, "file not allowed"
        return None

    def route(self, method: str, path: str) -> Route | None:
        """Return the served route of a request, or None if it must be refused.

        Args:
            method: HTTP method.
            path: path of the request, percent-decoded.
        """
        for pattern, route in self._routes:
            if method in route.methods and pattern.fullmatch(path):
                return route if route.path == FILE_ROUTE or _is_plain(path) else None
        return None


def is_logged_in(scope: Scope) -> bool:
    """Return True if a request has the cookie of a session of gradio's login."""
    app, cookies = scope["app"], Request(scope).cookies
    return any(cookies.get(f"{name}-{app.cookie_id}", "") in app.tokens for name in _COOKIES)


def _is_plain(path: str) -> bool:
    return ".." not in path.split("/") and not any(part in path for part in ("//", "\\", "\0", "\n"))


class _WithoutPaths:
    """Forward a response; remove absolute paths from the body of an error."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body = (self._body + message.get("body", b""))[:_MAX_ERROR_BYTES]
            if not message.get("more_body", False):
                await self._send_error(self._start)

    async def _send_error(self, start: Message) -> None:
        body = without_paths(self._body.decode("utf-8", errors="replace")).encode()
        headers = [(name, value) for name, value in start.get("headers", []) if name.lower() != b"content-length"]
        await self._send({**start, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
        await self._send({"type": "http.response.body", "body": body})


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
