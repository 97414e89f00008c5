"""Refuses requests for files outside the app's own folder, before gradio sees them.

gradio has rules of its own for ``/gradio_api/file=``: they go by the name of a path, serve whole folders of any app in
the same working directory, and fetch addresses of other servers for the visitor. Here nothing passes but a file that
really lies, links followed, in the folder of jobs and uploads.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FILE, _PROXY = "/file=", "/proxy="


class FileGuard:
    """ASGI middleware; see the module.

    Args:
        app: what is guarded.
        root: the only folder whose files may be read.
    """

    def __init__(self, app: App, root: Path) -> None:
        self._app = app
        self._root = root.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 403."""
        if scope["type"] == "http" and not self.allows(scope["path"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"file not allowed"})
            return
        await self._app(scope, receive, send)

    def allows(self, path: str) -> bool:
        """Whether a request's path, percent signs decoded, asks for no file or for one that may be read."""
        if _PROXY in path:
            return False
        _, is_file, name = path.partition(_FILE)
        if not is_file:
            return True
        try:
            return Path(name).is_absolute() and Path(name).resolve().is_relative_to(self._root)
        except (OSError, ValueError, RuntimeError):
            return False
