"""A tiny HTTP server with the contract of `python -m latentsync.server`: each status request advances its jobs."""

import email.parser
import email.policy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

STATES = (("queued", 0.0), ("running", 0.25), ("running", 0.75), ("done", 1.0))


@dataclass
class ServiceStandIn:
    """What the server received, and how it answers.

    Attributes:
        url: its address.
        key: required API key; empty: none.
        result: content of the result; None returns the uploaded video.
        failure: error with which a job fails; empty: it succeeds.
        num_dropped: number of status requests that get no answer.
        num_missing_bytes: how much of a result is not sent.
        ends_uploads: close the connection before an upload has been read, as servers do with one that is too large.
        is_other_program: answer every request with a web page.
        fields: fields of the last job; files are bytes.
        names: names of its files.
        cancelled: ids of cancelled jobs.
        num_polls: answered status requests.
    """

    url: str = ""
    key: str = ""
    result: bytes | None = None
    failure: str = ""
    num_dropped: int = 0
    num_missing_bytes: int = 0
    ends_uploads: bool = False
    is_other_program: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    num_polls: int = 0


@contextmanager
def service_stand_in() -> Iterator[ServiceStandIn]:
    """Serve on a free port until the block ends."""
    service = ServiceStandIn()

    class Handler(_Handler):
        state = service

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: ServiceStandIn

    def do_POST(self) -> None:
        if self.state.ends_uploads:
            self.close_connection = True
            return
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) < size or self._is_refused():
            return
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body
        )
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if part.get_filename():
                self.state.names[name] = part.get_filename()
            self.state.fields[name] = content if part.get_filename() else content.decode()
        self._answer(201, {"id": "job1", "state": "queued", "queue_position": 1})

    def do_GET(self) -> None:
        if self._is_refused():
            return
        if self.path == "/v1/jobs/job1/result":
            content = self.state.result or self.state.fields["video"]
            self._send(200, "video/mp4", content, len(content) - self.state.num_missing_bytes)
            return
        if self.state.num_dropped:
            self.state.num_dropped -= 1
            self.close_connection = True
            return
        state, progress = STATES[min(self.state.num_polls, len(STATES) - 1)]
        self.state.num_polls += 1
        if self.state.failure and state == "done":
            state = "failed"
        self._answer(200, {"id": "job1", "state": state, "progress": progress, "error": self.state.failure})

    def do_DELETE(self) -> None:
        if not self._is_refused():
            self.state.cancelled.append(self.path.removeprefix("/v1/jobs/"))
            self._answer(200, {"id": "job1", "state": "cancelled"})

    def _is_refused(self) -> bool:
        if self.state.is_other_program:
            self._send(200, "text/html", b"<html>")
            return True
        if not self.state.key or self.headers["Authorization"] == f"Bearer {self.state.key}":
            return False
        self._answer(401, {"error": "the API key is missing or wrong"})
        return True

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, content: bytes, num_sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:num_sent])

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
