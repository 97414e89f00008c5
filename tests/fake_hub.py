"""A model hub on 127.0.0.1 that answers the requests of huggingface_hub and latentsync as the real hub does.

LFS objects are announced by a redirect to a storage host, with their SHA-256 and size in `X-Linked-ETag` and
`X-Linked-Size`. Small files are served directly, with the git hash of a blob as their ETag. Ranges are supported. A
missing repository or file gives the hub's `X-Error-Code`.
"""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from latentsync import hub as hub_module

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BLOCK_BYTES = 1 << 16


@dataclass
class FakeHub:
    """Content of the server, its simulated faults, and the requests it received.

    Attributes:
        repositories: bytes by repository and name; names ending in .json are small files, all others LFS objects.
        served: bytes to serve instead of the announced ones, by name.
        broken_after: number of bytes after which every connection for this name breaks.
        refused: names that are answered with status 403.
        requests: method, repository/name and Range of every request for a file's bytes or its description.
    """

    repositories: Mapping[str, Mapping[str, bytes]]
    served: dict[str, bytes] = field(default_factory=dict)
    broken_after: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    endpoint: str = ""

    def ranges(self, name: str) -> list[str | None]:
        """Return the ranges of the requests for a file's bytes, in order."""
        return [wanted for method, asked, wanted in self.requests if method == "GET" and asked.endswith(f"/{name}")]


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve the hub on a free port and set its `endpoint`, the value for HF_ENDPOINT."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_in_this_process(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process use the hub, without pauses; huggingface_hub reads HF_ENDPOINT only when imported."""
    monkeypatch.setattr(hub_module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        if self.path.startswith("/api/models/"):
            known = self.path.removeprefix("/api/models/") in self.hub.repositories
            return self._head(200) if known else self._head(401, {"X-Error-Code": "RepoNotFound"})
        if self.path.startswith("/storage/"):
            return self._serve(*self.path.removeprefix("/storage/").split("/", 2))
        asked = _RESOLVE.fullmatch(self.path)
        if asked is None:
            return self._head(404)
        repository, revision, name = asked.groups()
        self.hub.requests.append((self.command, f"{repository}/{name}", self.headers.get("Range")))
        if name in self.hub.refused:
            return self._head(403)
        if repository not in self.hub.repositories:
            return self._head(401, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._head(404, {"X-Error-Code": "RevisionNotFound"})
        if name not in self.hub.repositories[repository]:
            return self._head(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        self._resolve(repository, name)

    def _resolve(self, repository: str, name: str) -> None:
        content = self.hub.repositories[repository][name]
        if name.endswith(".json"):
            return self._serve(*repository.split("/"), name)
        storage = self.hub.endpoint.replace("127.0.0.1", "localhost")
        self._head(
            302,
            {
                "ETag": '"0123456789abcdef0123456789abcdef"',
                "Location": f"{storage}/storage/{repository}/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "X-Xet-Hash": "ab" * 32,
            },
        )

    def _serve(self, owner: str, repository: str, name: str) -> None:
        announced = self.hub.repositories[f"{owner}/{repository}"][name]
        content = self.hub.served.get(name, announced)
        header = {
            "ETag": f'"{hashlib.sha1(b"blob %d" % len(announced) + bytes(1) + announced).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted.group(1)) if wanted else 0
        if first >= len(content) > 0:
            return self._head(416, {"Content-Range": f"bytes */{len(content)}"})
        if wanted:
            header["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._head(206 if wanted else 200, header, length=len(content) - first)
        if self.command == "HEAD":
            return
        end = min(len(content), first + self.hub.broken_after.get(name, len(content)))
        for start in range(first, end, _BLOCK_BYTES):
            self.wfile.write(content[start : min(end, start + _BLOCK_BYTES)])

    def _head(self, status: int, header: Mapping[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in (header or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
