"""Refuses what our page does not need, before gradio sees it: routes, visitors without login, files of the server.

gradio has rules of its own, a different one for each route: some answer without login, and those for files go by the
name of a path. Here is one rule for all: a route that is not in `latentsync.app.routes` does not exist, one that is
not open needs a login where the app asks for one, and a file is given out only where `may_be_read` says so. No body
of an error has an absolute path of the server in it.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.routing import compile_path

from latentsync.app.error_line import error_line
from latentsync.app.routes import FILE_ROUTE, SERVED, Route
from latentsync.app.visible_text import without_paths

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_COOKIES = ("access-token", "access-token-unsecure")
_LARGEST_ERROR_BYTES = 1 << 16


class RouteGuard:
    """ASGI middleware; see the module.

    Args:
        app: what is guarded, inside of a gradio app.
        needs_login: whether visitors must have logged in, but for open routes.
        may_be_read: whether a file may be given out.
    """

    def __init__(self, app: App, needs_login: bool, may_be_read: Callable[[Path], bool]) -> None:
        self._app = app
        self._needs_login = needs_login
        self._may_be_read = may_be_read
        self._routes = [(compile_path(route.path)[0], route) for route in SERVED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 403 or 401."""
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
        """The served route of a request; None where it shall be refused.

        Args:
            method: of HTTP.
            path: of the request, percent signs decoded.
        """
        for pattern, route in self._routes:
            if method in route.methods and pattern.fullmatch(path):
                return route if route.path == FILE_ROUTE or _is_plain(path) else None
        return None


def is_logged_in(scope: Scope) -> bool:
    """Whether a request has the cookie of a session that gradio's login began."""
    app, cookies = scope["app"], Request(scope).cookies
    return any(cookies.get(f"{name}-{app.cookie_id}", "") in app.tokens for name in _COOKIES)


def _is_plain(path: str) -> bool:
    return ".." not in path.split("/") and not any(part in path for part in ("//", "\\", "\0", "\n"))


class _WithoutPaths:
    """Sends an answer on; the body of an error first loses all absolute paths."""

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
            self._body = (self._body + message.get("body", b""))[:_LARGEST_ERROR_BYTES]
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
