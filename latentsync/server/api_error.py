"""Errors of requests: a status and one line."""

from collections.abc import Mapping


class ApiError(Exception):
    """The answer to a request that cannot be fulfilled.

    Attributes:
        status: HTTP status.
        line: one line for the client.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status = status
        self.line = " ".join(line.split())
        self.headers = dict(headers or {})
